"""Stable Diffusion as a generator: only low-rank additions to its attention are trained.

    image -> VAE (frozen) -> latent, once an image
    class -> prompt -> text encoder (frozen) -> embedding, once a class
    latent, embedding, timestep -> UNet (frozen) with low-rank additions (trained) -> noise

Everything frozen is a function of one image or of the class name alone, so a unit's gradient is
that of its own images. The additions are plain linear layers (peft's LoRA), whose per-sample
gradients Opacus computes; the test suite compares them with those of one image alone. Noise
multiplicity and sampling as in `models.generators.diffusion`.

A checkpoint is loaded from a folder with its hash checked (`models.generators.checkpoint`). What it
was trained on is not known here: whoever approves a plan with it vouches that no patient of theirs
is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from models.errors import GeneratorError, WeightsError
from models.generators.checkpoint import checkpoint_sha256
from models.generators.diffusion import averaged_losses, denoise
from models.generators.generator import Generator
from models.generators.lora import add_low_rank
from models.images import each_alone

CLASS_MARK: Final = "{class}"
_ATTENTION: Final = r".*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
_AT_ONCE: Final = 4
_TARGETS: Final = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Checkpoint:
    """The loaded parts; all frozen.

    Attributes:
        unet: predicts. vae: images to latents and back. schedule: of the noise.
        embeddings: of each class's prompt, [C, L, D].
        nothing: of the empty prompt, [1, L, D].
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    schedule: DDIMScheduler
    embeddings: Tensor
    nothing: Tensor


@final
class StableGenerator(Generator):
    """A Stable Diffusion checkpoint with low-rank additions."""

    images_at_once = 8

    def __init__(
        self, checkpoint: Checkpoint, *, image_size: int, rank: int, guidance: float
    ) -> None:
        add_low_rank(checkpoint.unet, layers=_ATTENTION, rank=rank)
        super().__init__(checkpoint.unet.train(), image_size=image_size)
        self._parts = checkpoint
        self._guidance = guidance

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 [N, R, R] to latents float32 [N, 4, S / 8, S / 8], the most likely ones."""
        vae: Any = self._parts.vae
        size = (self.image_size,) * 2

        def latent(image: Tensor) -> Tensor:
            whole = _resized(image.float()[:, None] / 127.5 - 1, size)
            found: Tensor = vae.encode(whole.expand(-1, 3, -1, -1).contiguous()).latent_dist.mode()
            return found

        return (each_alone(latent, images) * vae.config.scaling_factor).contiguous()

    def losses(
        self,
        network: nn.Module,
        prepared: Tensor,
        labels: Tensor,
        *,
        generator: torch.Generator,
        draws: int,
    ) -> Tensor:
        """The latent denoising loss of each row, averaged over its draws: float32 [B].

        Raises:
            GeneratorError: labels are unknown, or there is no draw.
        """

        def at(noised: Tensor, steps: Tensor) -> Tensor:
            return self.predict(network, noised, labels, steps)

        return averaged_losses(
            at, prepared, schedule=self._parts.schedule, generator=generator, draws=draws
        )

    def predict(self, network: nn.Module, noised: Tensor, labels: Tensor, steps: Tensor) -> Tensor:
        """The target in noised latents [B, 4, S / 8, S / 8], each under its class's prompt."""
        return _predict(network, noised, steps, self._of_class(labels))

    @torch.no_grad()
    def sample(
        self, labels: Tensor, *, steps: int, generator: torch.Generator
    ) -> NDArray[np.uint8]:
        """uint8 [N, S, S], by DDIM with classifier-free guidance.

        Raises:
            GeneratorError: labels or steps are wrong, or the network predicts NaN.
        """
        trained = int(self._parts.schedule.config.num_train_timesteps)
        if not 1 <= steps <= trained:
            raise GeneratorError(f"{steps} DDIM steps; choose 1 to {trained}")
        prompts = self._of_class(labels)
        images = np.empty((len(labels), self.image_size, self.image_size), np.uint8)
        self.network.eval()
        try:
            for at in range(0, len(labels), _AT_ONCE):
                some = prompts[at : at + _AT_ONCE]
                images[at : at + _AT_ONCE] = self._drawn(some, steps, generator).numpy()
        finally:
            self.network.train()
        return images

    def _drawn(self, prompts: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        vae: Any = self._parts.vae
        side = self.image_size // _shrink(vae)
        channels = int(self._parts.unet.config.in_channels)
        noise = torch.randn((len(prompts), channels, side, side), generator=generator)
        nothing = self._parts.nothing.expand_as(prompts)

        def predict(latents: Tensor, step: Tensor) -> Tensor:
            said = _predict(self.network, latents, step, prompts)
            if self._guidance == 1.0:
                return said
            unsaid = _predict(self.network, latents, step, nothing)
            return unsaid + self._guidance * (said - unsaid)

        latents = denoise(predict, noise, schedule=self._parts.schedule, steps=steps)
        image = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        if not bool(torch.isfinite(image).all()):
            raise GeneratorError(
                "the generator makes NaN; its training diverged, use smaller steps"
            )
        return ((image.mean(dim=1).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def _of_class(self, labels: Tensor) -> Tensor:
        known = len(self._parts.embeddings)
        if labels.dtype != torch.int64 or labels.ndim != 1:
            raise GeneratorError(f"labels are {labels.dtype} {list(labels.shape)}; give int64 [B]")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < known:
            raise GeneratorError(f"this generator knows classes 0 to {known - 1}")
        return self._parts.embeddings[labels]


def stable_generator(
    folder: Path,
    *,
    sha256: str,
    classes: tuple[str, ...],
    prompt: str,
    image_size: int,
    rank: int,
    guidance: float,
) -> StableGenerator:
    """A checkpoint from its folder, ready to be adapted.

    Args:
        folder: in diffusers' layout.
        sha256: of its files, as the plan pins it.
        classes: class names, in label order.
        prompt: what every image is called, with ``{class}`` in the place of the class.
        image_size: S; the VAE's factor must divide it.
        rank: of the additions.
        guidance: scale of classifier-free guidance when sampling; 1 for none.

    Raises:
        WeightsError: the files are not those of the plan, or cannot be loaded.
        GeneratorError: this is no Stable Diffusion checkpoint, or a setting does not fit it.
    """
    found = checkpoint_sha256(folder)
    if found != sha256:
        raise WeightsError(
            f"the plan starts from the checkpoint {sha256[:12]}, but {folder.name} is {found[:12]}"
        )
    if CLASS_MARK not in prompt:
        raise GeneratorError(f"the prompt {prompt[:60]!r} does not say {CLASS_MARK}")
    prompts = [prompt.replace(CLASS_MARK, name) for name in classes]
    checkpoint = _loaded(folder, prompts)
    factor = 8 * _shrink(checkpoint.vae) // 8
    deepest = 2 ** (len(checkpoint.unet.config.block_out_channels) - 1)
    if image_size % (factor * deepest):
        raise GeneratorError(
            f"image size {image_size} px; this checkpoint wants a multiple of {factor * deepest}"
        )
    return StableGenerator(checkpoint, image_size=image_size, rank=rank, guidance=guidance)


def _loaded(folder: Path, prompts: list[str]) -> Checkpoint:
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    try:
        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **options)
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", **options)
        text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", **options)
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        schedule = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise WeightsError(
            f"the checkpoint {folder.name} cannot be loaded: {error}"[:400]
        ) from error
    target = schedule.config.prediction_type
    if target not in _TARGETS:
        raise GeneratorError(f"the checkpoint predicts {target!r}; known are {', '.join(_TARGETS)}")
    for part in (unet, vae, text):
        part.float().eval().requires_grad_(False)
    return Checkpoint(
        unet=unet,
        vae=vae,
        schedule=schedule,
        embeddings=_embedded(tokenizer, text, prompts),
        nothing=_embedded(tokenizer, text, [""]),
    )


@torch.no_grad()
def _embedded(tokenizer: Any, text: Any, prompts: list[str]) -> Tensor:
    """[P, L, D]."""
    tokens = tokenizer(
        prompts,
        padding="max_length",
        max_length=text.config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    )
    embedded: Tensor = text(tokens.input_ids)[0]
    return embedded


def _predict(network: nn.Module, noised: Tensor, steps: Tensor, prompts: Tensor) -> Tensor:
    predicted: Tensor = network(noised, steps, encoder_hidden_states=prompts, return_dict=False)[0]
    return predicted


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(
        images, size=size, mode="bilinear", antialias=True, align_corners=False
    )


def _shrink(vae: Any) -> int:
    """How many pixels a latent's side stands for."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))
