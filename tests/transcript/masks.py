"""How transcripts are compared: what in them is masked, thing by thing; all else byte for byte."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

NOISED = frozenset(
    {"weights.safetensors", "generator.safetensors", "evaluation.json", "reports.json.opening"}
)
"""Outputs whose hash may be told: noise protects them, or a salt does."""
MASKED = {
    "dataset_version": "a keyed hash",
    "content_sha256": "a salted commitment",
    "images_sha256": "of what a noised generator drew",
    "signature": "over masked things",
    "entry_hash": "over masked things",
    "receipt_sha256": "over masked things",
    "text": "a cohort report, from noised counts",
    "text_sha256": "of that",
    "facts": "of that",
    "source": "whether the language model managed that",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?")


def masked(value: Any) -> Any:
    """A JSON value in which exactly what is random by design is replaced by its reason."""
    if isinstance(value, dict):
        return {name: _masked_field(name, each) for name, each in value.items()}
    return [masked(each) for each in value] if isinstance(value, list | tuple) else value


def _masked_field(name: str, value: Any) -> Any:
    if name in MASKED:
        return f"<{MASKED[name]}>"
    if name == "receipt" and isinstance(value, str):
        return masked(json.loads(value))
    if name == "outputs" and isinstance(value, dict):
        return {key: "<noised>" if key in NOISED else each for key, each in value.items()}
    if name == "sources":
        return value
    return masked(value)


def shown(name: str, data: bytes) -> str:
    """A file that the researcher has, as it is compared."""
    if name.endswith(".safetensors"):
        start = 8 + int.from_bytes(data[:8], "little")
        return f"{len(data)} bytes, {data[:start]!r}"
    if name == "evaluation.json":
        document = json.loads(data)
        shapes = {key: np.shape(document.pop(key)) for key in ("confusion", "histograms")}
        return f"{document} {shapes}"
    if name.endswith(".json"):
        return json.dumps(masked(json.loads(data)))
    # syft's own state files say when something was sent: the time of the message itself.
    return _TIME.sub("<when it was sent>", data.decode(errors="replace"))


def differences(one: list[str], other: list[str]) -> list[str]:
    """Where two transcripts differ, for people."""
    pairs = [
        f"- {left}\n+ {right}" for left, right in zip(one, other, strict=False) if left != right
    ]
    rest = one[len(other) :] + other[len(one) :]
    return [*pairs, *(f"? {line}" for line in rest)]
