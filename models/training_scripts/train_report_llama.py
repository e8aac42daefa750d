"""Trains the small LLaMa that ships with Dura, and writes its model card.

    python -m models.training_scripts.train_report_llama   about two minutes on one core
    python -m models.training_scripts.train_report_llama --card   measures again, writes the card
    python -m models.training_scripts.train_report_llama --quick --out FOLDER
        a few steps, for tests

Everything it learns from is drawn here: facts by `models.training_scripts.synthetic_facts`, texts
by the report language. In this order: draw facts and texts, train the tokenizer (byte-level BPE,
each reference one token), train the model section by section (prompts are not scored), write
weights as float16 safetensors, measure how often its drafts pass verification, write the card. The
same seed gives the same data; weights are the same on the same machine and torch release only.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.reports.writer.model_source import SHIPPED_MODEL
from models.reports.writer.prompt import COMPACT_TAGS, build_prompt, compact_names
from models.training_scripts.report_card import Measured, measure, model_card
from models.training_scripts.report_phrases import write_sections
from models.training_scripts.synthetic_facts import sample_facts

END: Final = "<end>"
PAD: Final = "<pad>"
IGNORED: Final = -100
"""Label of tokens that are not scored (the loss function's own convention)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        seed: of data, weights and order.
        steps: optimiser steps. batch: sections a step. rate: highest learning rate.
        tokenizer_texts: reports that the tokenizer sees. checked: reports measured for the card.
        hidden: width. layers: depth. vocabulary: tokens at most, references included.
    """

    seed: int = 20261
    steps: int = 350
    batch: int = 32
    rate: float = 3e-3
    tokenizer_texts: int = 500
    checked: int = 100
    hidden: int = 96
    layers: int = 3
    vocabulary: int = 2000


QUICK: Final = Settings(steps=3, batch=2, tokenizer_texts=60, checked=2, hidden=32, layers=1)


def train(folder: Path, settings: Settings) -> Measured:
    """Train, write all files into `folder`, and return what was measured."""
    rng = random.Random(settings.seed)  # noqa: S311 (data, not secrets)
    torch.manual_seed(settings.seed)
    tokenizer = train_tokenizer(
        [prose for _ in range(settings.tokenizer_texts) for _, prose in draw(rng)], settings
    )
    model = LlamaForCausalLM(_config(tokenizer, settings))
    _fit(model, tokenizer, rng, settings)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.to(torch.float16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    return write_card(folder, settings)


def write_card(folder: Path, settings: Settings) -> Measured:
    """Measure the model in `folder` and write its card; returns what was measured."""
    measured = measure(folder, settings.checked, seed=settings.seed + 1)
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card = model_card(
        measured,
        sha256=sha256,
        steps=settings.steps,
        texts=settings.steps * settings.batch,
        seed=settings.seed,
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return measured


def train_tokenizer(texts: list[str], settings: Settings) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the bodies; references and control tokens are one token each.

    Words are not kept apart: phrases that recur become one token, and reports are written faster.
    """
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    references = [f"{{{{{name}}}}}" for name in compact_names()]
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary - len(references) - len(COMPACT_TAGS) - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The references are cut out, so that BPE does not learn their letters.
    pieces = [piece for text in texts for piece in _prose(text)]
    inner.train_from_iterator(pieces, trainer)
    inner.add_tokens([AddedToken(name, normalized=False) for name in references])
    inner.add_special_tokens([AddedToken(tag, normalized=False) for tag in (PAD, *COMPACT_TAGS)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END, pad_token=PAD)


def _prose(text: str) -> list[str]:
    return [part.partition("}}")[2] if i else part for i, part in enumerate(text.split("{{"))]


def _config(tokenizer: PreTrainedTokenizerFast, settings: Settings) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=3 * settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dura_prompt="compact",
    )


def draw(rng: random.Random) -> list[tuple[str, str]]:
    """Prompt and prose of each section that is drawn for one document of facts."""
    facts = sample_facts(rng)
    prompt = build_prompt(facts, "compact")
    return [(prompt + opening, prose + END) for opening, prose in write_sections(facts, rng)]


def _fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    settings: Settings,
) -> None:
    """AdamW with a warm-up and a cosine to nothing."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.rate, total_steps=settings.steps + 1, pct_start=0.1
    )
    waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
    for step in range(1, settings.steps + 1):
        waiting = waiting or _batches(tokenizer, rng, settings.batch)
        ids, labels = waiting.pop()
        loss = model(
            input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels
        ).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {settings.steps}, loss {loss.item():.4f}", flush=True)


def _batches(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, size: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ten batches of sections alike in length, in random order: ids and labels, int64."""
    rows: list[tuple[list[int], list[int]]] = []
    while len(rows) < 10 * size:
        for prompt, prose in draw(rng):
            told = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            said = tokenizer(prose, add_special_tokens=False)["input_ids"]
            rows.append((told + said, [IGNORED] * len(told) + said))
    rows.sort(key=lambda row: len(row[0]))
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    rng.shuffle(batches)
    pad = tokenizer.pad_token_id
    return [
        (_padded([ids for ids, _ in batch], pad), _padded([said for _, said in batch], IGNORED))
        for batch in batches
    ]


def _padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def main(arguments: list[str] | None = None) -> None:
    """Command line: `--out FOLDER`, `--quick`."""
    parser = argparse.ArgumentParser(description="Train the small LLaMa that ships with Dura.")
    parser.add_argument("--out", type=Path, default=SHIPPED_MODEL, help="folder to write into")
    parser.add_argument("--card", action="store_true", help="measure only, and write the card")
    parser.add_argument("--quick", action="store_true", help="a few steps only, for tests")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    options = parser.parse_args(arguments)
    if options.quick and options.out == SHIPPED_MODEL:
        parser.error("--quick would overwrite the shipped model; give --out FOLDER")
    torch.set_num_threads(options.threads)
    settings = QUICK if options.quick else Settings()
    print(write_card(options.out, settings) if options.card else train(options.out, settings))


if __name__ == "__main__":
    main()
