"""Assembles a Stable Diffusion checkpoint of random components: for tests and dry runs.

    python -m models.training_scripts.tiny_stable_diffusion FOLDER

It has every part of a real one (VAE, UNet with cross-attention, CLIP text encoder, tokenizer with a
tiny vocabulary, DDIM schedule) in diffusers' layout, about half a megabyte, and it draws noise. The
same seed gives the same parts on the same release of torch.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

_WIDTH = 16
_LENGTH = 16
_START, _END = "<|startoftext|>", "<|endoftext|>"


def write_tiny(folder: Path, *, seed: int = 0, target: str = "epsilon") -> Path:
    """Write a checkpoint; returns its folder.

    Args:
        folder: made if it is not there.
        seed: of the random weights.
        target: what the UNet is meant to predict, `epsilon` or `v_prediction`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        tokenizer = _tokenizer(folder / "tokenizer")
        pipeline = StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=_text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=_unet(),
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
                prediction_type=target,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(folder)
    return folder


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        layers_per_block=1,
        latent_channels=4,
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        layers_per_block=1,
        cross_attention_dim=_WIDTH,
        attention_head_dim=4,
    )


def _text_encoder(words: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=_WIDTH,
            intermediate_size=_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=_LENGTH,
            bos_token_id=words - 2,
            eos_token_id=words - 1,
            pad_token_id=words - 1,
        )
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """A vocabulary of letters, with and without a word's end, and no merges."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = string.ascii_lowercase + string.digits
    words = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


if __name__ == "__main__":
    print(write_tiny(Path(sys.argv[1])))
