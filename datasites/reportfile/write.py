"""A page in the format that was asked for."""

from __future__ import annotations

from datetime import datetime

from datasites.errors import FormatError
from datasites.escaping import visible
from datasites.plans import ReleasedReport
from datasites.reportfile.format import Format
from datasites.reportfile.html import html_of
from datasites.reportfile.page import Page, page_of_released


def render(page: Page, kind: Format, *, time: datetime, document: str) -> bytes:
    """A page as bytes, in any format but DICOM (see `datasites.reportfile.dicom`).

    Args:
        page: what stands on it.
        kind: the format.
        time: UTC, written into the file.
        document: the report's own document, for JSON.
    """
    match kind:
        case Format.TEXT:
            return visible(page.text, keep="\n").encode()
        case Format.HTML:
            return html_of(page).encode()
        case Format.PDF:
            from datasites.reportfile.pdf import pdf_of

            return pdf_of(page, time=time)
        case _:
            return document.encode()


def render_released(report: ReleasedReport, kind: str) -> tuple[str, bytes]:
    """File ending and bytes of a released report in a format.

    Raises:
        FormatError: a format that is not known, or DICOM, which is for the hospital's own archive.
        FactsError: its facts cannot be read.
    """
    if kind not in (Format.TEXT, Format.HTML, Format.PDF, Format.JSON):
        raise FormatError(f"{kind!r} is not a format of released reports: text, html, pdf or json")
    wanted = Format(kind)
    document = report.model_dump_json(indent=1)
    moment = datetime.fromisoformat(report.released)
    page = page_of_released(report)
    return wanted.suffix, render(page, wanted, time=moment, document=document)
