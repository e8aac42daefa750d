"""A finished report: text, who wrote it, from which facts, with which model. Needs no torch.

In JSON it has a version field and canonical form (RFC 8785). Reading checks form only; whether the
text is true is for `models.reports.verify.verify`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from models.reports.errors import FactsError, ReportFileError
from models.reports.facts import canonical_json, field_values, parse_object
from models.reports.language import PROVENANCE, Source

REPORT_VERSION: Final = 1
KINDS: Final = ("case", "hospital", "global")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that passed verification.

    Attributes:
        kind: "case", "hospital" or "global", as the facts.
        text: the whole report, plain text.
        source: who wrote the prose: "llama", or "template" where its drafts failed.
        attempts: drafts that the language model wrote.
        rejected: one line for each draft that failed, saying of which kinds its findings were.
        seed: of the first draft; draft n is drawn with `seed + n`.
        model_id: folder name, Hub id, or "report_llama" for the shipped model.
        model_sha256: SHA-256 over the model's weight files.
        facts_sha256: SHA-256 of the facts' canonical JSON.
        references: names of the references that the text holds, in order of first use.
        version: of this form.

    Raises:
        ReportFileError: a value is of the wrong type, or not one that is known.
    """

    kind: str
    text: str
    source: Source
    attempts: int
    rejected: tuple[str, ...]
    seed: int
    model_id: str
    model_sha256: str
    facts_sha256: str
    references: tuple[str, ...]
    version: int = REPORT_VERSION

    def __post_init__(self) -> None:
        if isinstance(self.version, bool) or self.version != REPORT_VERSION:
            raise ReportFileError(
                f"version is {self.version!r}; this release reads version {REPORT_VERSION}"
            )
        if self.kind not in KINDS or self.source not in PROVENANCE:
            raise ReportFileError(
                f"kind is {self.kind!r} and source {self.source!r}; "
                f"known are {KINDS} and {tuple(PROVENANCE)}"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if not _fits(str(field.type), value):
                raise ReportFileError(f"{field.name} is {value!r}; it must be {field.type}")

    def to_json(self) -> str:
        """The report as canonical JSON (RFC 8785)."""
        return canonical_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report that `to_json` wrote.

        Raises:
            ReportFileError: not JSON, not these keys, or values of the wrong kind.
        """
        try:
            values = field_values(parse_object(text), cls)
        except FactsError as error:
            raise ReportFileError(str(error)) from error
        for name in ("rejected", "references"):
            if isinstance(values[name], list):
                values[name] = tuple(values[name])
        return cls(**values)


def _fits(annotation: str, value: object) -> bool:
    if annotation == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation == "tuple[str, ...]":
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)
