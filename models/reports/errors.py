"""Every error of the LLaMa reports.

    ModelsError
    └── ReportError
        ├── FactsError          a facts document is malformed, out of range or contradicts itself
        ├── RenderError         a draft names a reference that these facts do not have
        ├── ReportCheckError    a text says something that its facts do not; carries the findings
        ├── ReportFileError     a report's JSON is not one that this release reads
        └── WriterError         a language model cannot be loaded or used

None of these texts may cross a hospital's boundary: callers map the class to a coded reason first.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import ModelsError


class ReportError(ModelsError):
    """Base of every error about facts, drafts and reports."""


class FactsError(ReportError):
    """A facts document is malformed, out of range or contradicts itself."""


class RenderError(ReportError):
    """A draft holds a reference that does not exist, or braces that do not close."""


class ReportFileError(ReportError):
    """A report's JSON is not one that this release reads."""


class WriterError(ReportError):
    """A language model cannot be loaded, or does not fit the task."""


@dataclass(frozen=True, slots=True)
class ReportFinding:
    """One thing that is wrong with a report's text.

    Attributes:
        kind: "layout", "number", "class", "name", "comparison", "forbidden", "missing",
            "character" or "word".
        start: zero-based index of the first character concerned.
        end: index after the last character concerned; equal to `start` where something is missing.
        excerpt: the characters concerned.
        message: what is wrong and what would be right.
    """

    kind: str
    start: int
    end: int
    excerpt: str
    message: str

    def __str__(self) -> str:
        """One line: kind, place, words, reason."""
        return f"{self.kind} at {self.start}-{self.end} ({self.excerpt!r}): {self.message}"


class ReportCheckError(ReportError):
    """A text is not borne out by its facts.

    Attributes:
        findings: everything found, in the order of the text; never empty.
    """

    def __init__(self, findings: tuple[ReportFinding, ...]) -> None:
        self.findings = findings
        shown = "; ".join(str(finding) for finding in findings[:5])
        more = f"; and {len(findings) - 5} more" if len(findings) > 5 else ""
        super().__init__(
            f"the report says {len(findings)} thing(s) that its facts do not: {shown}{more}; "
            f"correct the text or write it again from the facts"
        )
