"""What crosses a hospital's boundary about one job, as an attacker reads it. Pure.

Of the files that reach a researcher everything is looked at but the noised numbers: which files,
how the job ended and why, whole numbers, lengths of lists, names of fields, and times. Floats and
strings inside documents are not compared (noise, signatures and clocks are in them), except the
answer's coded words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from datasites import ANSWER_FILE
from privacy import JsonValue

_CODES = ("status", "reason", "sandboxed")
_SERVED = ("done", "held")
_LENGTH_TOLD = ".safetensors"


@dataclass(frozen=True)
class Crossed:
    """What reached the researcher about one job.

    Attributes:
        files: by name.
        waited_s: seconds from asking to the answer, on the researcher's clock.
    """

    files: Mapping[str, bytes]
    waited_s: float = 0.0

    @property
    def served(self) -> bool:
        """Whether the hospital did what was asked; if not, an attack by it proves nothing."""
        return self._answer().get("status") in _SERVED

    @property
    def ending(self) -> str:
        """How the job ended, and which files came."""
        answer = self._answer()
        codes = [f"{code} {answer.get(code)}" for code in _CODES if answer.get(code) is not None]
        return f"{', '.join(codes)}; {', '.join(sorted(self.files))}"

    @property
    def form(self) -> str:
        """Everything that is counted: fields, lengths, whole numbers, sizes of weights."""
        forms: dict[str, JsonValue] = {"": self.ending}
        for name, data in sorted(self.files.items()):
            if name.endswith(_LENGTH_TOLD):
                forms[name] = len(data)
            else:
                forms[name] = _form(json.loads(data))
        return json.dumps(forms, sort_keys=True)

    @property
    def stated_s(self) -> float:
        """How long the job worked, as far as the answer says; 0 where it does not."""
        timing = self._answer().get("timing")
        if not isinstance(timing, dict):
            return 0.0
        started, ended = timing.get("started"), timing.get("ended")
        if isinstance(started, int | float) and isinstance(ended, int | float):
            return float(ended - started)
        return float(sum(v for v in timing.values() if isinstance(v, int | float)))

    def _answer(self) -> dict[str, JsonValue]:
        said: dict[str, JsonValue] = json.loads(self.files[ANSWER_FILE])
        return said


def _form(value: JsonValue) -> JsonValue:
    """A document without its floats and strings; a text that is a document is looked into."""
    if isinstance(value, dict):
        return {name: _form(inner) for name, inner in value.items() if name not in _MOVING}
    if isinstance(value, list):
        return [_form(inner) for inner in value]
    if isinstance(value, str) and value.startswith("{"):
        return _form(json.loads(value))
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else value


_MOVING = frozenset({"timing", "checkpoint", "sequence"})
"""Fields that move with the clock or with the ledger, and are looked at elsewhere or not at all."""
