"""The edge to transformers: loading files safely, tokens as text, masking, following. Needs torch.

What comes with a model is data only: safetensors, JSON, a chat template that transformers renders
in its own sandbox. Weights that are missing from the files are refused, since transformers would
fill them with random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessor,
    StoppingCriteria,
)
from transformers.utils import logging

from models.reports.errors import WriterError
from models.reports.writer.model_source import ModelSource
from models.reports.writer.tokens import Tracker

_DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def usable_device(name: str) -> torch.device:
    """The device of a setting.

    Raises:
        WriterError: not a device, or not one of this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise WriterError(f"{name!r} is no device; use cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise WriterError(
            f"device {name!r} is not here; {torch.cuda.device_count()} accelerators are, use cpu"
        )
    return device


def number_type(name: str, device: torch.device) -> torch.dtype | None:
    """The number type of a setting; None for that of the file.

    Raises:
        WriterError: not a number type that weights may have.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else None
    if name not in _DTYPES:
        raise WriterError(f"dtype is {name!r}; use auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def load_files(source: ModelSource, dtype: torch.dtype | None) -> tuple[Any, Any]:
    """Load model and tokenizer from a folder.

    Raises:
        WriterError: files are damaged or incomplete, not of a causal model, or bring code along.
    """
    silent = not logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=False
        )
        model, info = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype="auto" if dtype is None else dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WriterError(
            f"model {source.model_id!r} cannot be loaded: {error}; give a folder of a causal "
            f"language model with its tokenizer, as transformers saves them"
        ) from error
    finally:
        if not silent:
            logging.enable_progress_bar()
    if wrong := sorted({*info["missing_keys"], *(str(row) for row in info["mismatched_keys"])}):
        raise WriterError(
            f"model {source.model_id!r} lacks weights, {wrong[:3]} among {len(wrong)}; "
            f"its files are incomplete or of another architecture"
        )
    return model, tokenizer


def token_texts(tokenizer: Any, vocab_size: int) -> dict[int, str]:
    """What each token adds to a text; control tokens and ids without weights left out.

    A token is read after another one, since many tokenizers drop a space at the start of a text.
    """
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
    control = set(tokenizer.all_special_ids)
    plain = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    before = tokenizer.decode(anchor, **plain)
    ids = [i for i in range(min(len(tokenizer), vocab_size)) if i not in control]
    texts = tokenizer.batch_decode([[*anchor, i] for i in ids], **plain)
    return {
        i: text.removeprefix(before)
        for i, text in zip(ids, texts, strict=True)
        if text.startswith(before)
    }


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a text, by tokenizer and by the model's own settings."""
    asked = getattr(model.generation_config, "eos_token_id", None)
    ends = [tokenizer.eos_token_id, *(asked if isinstance(asked, Sequence) else [asked])]
    known = {i for i in ends if isinstance(i, int) and 0 <= i < model.config.vocab_size}
    return tuple(sorted(known))


class OnlyAdmitted(LogitsProcessor):
    """Gives every token that the tracker does not admit a probability of zero."""

    def __init__(self, tracker: Tracker, ends: Sequence[int]) -> None:
        self._tracker = tracker
        self._ends = tuple(ends)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask scores, float [1, vocabulary]."""
        allowed = list(self._tracker.next_tokens())
        if self._tracker.may_end:
            allowed += self._ends
        kept = scores[:, allowed]
        if not torch.isfinite(kept).all():
            raise WriterError(
                "the model's scores are not finite; its weights are damaged, or the number type "
                "is too small for it: try dtype float32"
            )
        masked = torch.full_like(scores, -torch.inf)
        masked[:, allowed] = kept
        return masked


class Follow(StoppingCriteria):
    """Takes each new token to the tracker, and stops where nothing may follow."""

    def __init__(self, tracker: Tracker, ends: Sequence[int]) -> None:
        self._tracker = tracker
        self._ends = frozenset(ends)

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """Whether to stop, bool [1]."""
        token = int(input_ids[0, -1])
        ended = token in self._ends
        if ended:
            self._tracker.end()
        else:
            self._tracker.take(token)
            ended = not self._tracker.next_tokens() and not (self._ends and self._tracker.may_end)
            ended = ended or self._tracker.finished
        return torch.tensor([ended], device=input_ids.device)
