"""Names of the formats in which reports are written to files."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """A format: `json` is the report's own document, `dicom` an Encapsulated PDF."""

    TEXT = "text"
    HTML = "html"
    PDF = "pdf"
    JSON = "json"
    DICOM = "dicom"

    @property
    def suffix(self) -> str:
        """The usual ending of such a file."""
        return {"text": "txt", "dicom": "dcm"}.get(self.value, self.value)
