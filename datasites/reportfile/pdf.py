"""A report as a PDF; the only place that knows fpdf2.

The same page and time give the same bytes. Text is text (it can be searched and read aloud), set in
the PDF's own Helvetica where Latin letters suffice, else in DejaVu Sans, embedded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from fpdf import FPDF

from datasites.desk import BLOCK
from datasites.errors import FormatError
from datasites.escaping import visible
from datasites.reportfile.page import Page

_MARGIN_MM = 20.0
_LABEL_MM = 45.0
_LINE_MM = 5.5


class _Sheet(FPDF):
    """A4, with the footer that no page goes without."""

    def __init__(self, footer: str, family: str) -> None:
        super().__init__(format="A4")
        self._footer_text = footer
        self._family = family

    def footer(self) -> None:
        """Called by fpdf2 at the end of each page."""
        self.set_y(-15)
        self.set_font(self._family, size=8)
        self.cell(0, 5, f"{self._footer_text}  Page {self.page_no()}", align="C")


def pdf_of(page: Page, *, time: datetime) -> bytes:
    """The PDF of a page; `time` is written into it.

    Raises:
        FormatError: letters that the built-in font lacks, and no other font is installed.
    """
    latin = _is_latin("".join([page.text, page.status, *page.origin, *(t for _, t in page.facts)]))
    family = "Helvetica" if latin else "DejaVu"
    sheet = _Sheet(page.footer, family)
    if not latin:
        folder = _fonts()
        sheet.add_font(family, fname=folder / "DejaVuSans.ttf")
        sheet.add_font(family, style="B", fname=folder / "DejaVuSans-Bold.ttf")
    sheet.set_creation_date(time.astimezone(UTC))
    sheet.set_title(_plain(page.title))
    sheet.set_subject(_plain(page.status))
    sheet.set_creator("Dura")
    sheet.set_lang("en")
    sheet.set_margin(_MARGIN_MM)
    sheet.set_auto_page_break(auto=True, margin=_MARGIN_MM)
    sheet.add_page()
    _fill(sheet, page, family)
    return bytes(sheet.output())


def _fill(sheet: FPDF, page: Page, family: str) -> None:
    sheet.set_font(family, style="B", size=16)
    _lines(sheet, page.title, 9)
    sheet.set_font(family, style="" if page.released else "B", size=10)
    _lines(sheet, page.status if page.released else page.status.upper())
    sheet.ln(2)
    _rows(sheet, page.header, family)
    for heading, lines in page.sections:
        _heading(sheet, heading, family)
        for line in lines:
            _lines(sheet, line)
    _heading(sheet, "How it was made", family)
    for line in page.origin:
        _lines(sheet, line)
    if page.facts:
        _heading(sheet, "Facts it was checked against", family)
        sheet.set_font(family, size=8)
        _rows(sheet, page.facts, family, size=8)


def _heading(sheet: FPDF, text: str, family: str) -> None:
    sheet.ln(3)
    sheet.set_font(family, style="B", size=11)
    _lines(sheet, text)
    sheet.set_font(family, size=10)


def _rows(sheet: FPDF, rows: tuple[tuple[str, str], ...], family: str, *, size: int = 10) -> None:
    sheet.set_font(family, size=size)
    for label, value in rows:
        sheet.cell(_LABEL_MM, _LINE_MM, _plain(label))
        _lines(sheet, value)


def _lines(sheet: FPDF, text: str, height: float = _LINE_MM) -> None:
    sheet.multi_cell(0, height, _plain(text), align="L", new_x="LMARGIN", new_y="NEXT")


def _plain(text: str) -> str:
    # A line is not broken between a figure and its percent sign.
    return visible(text).replace(BLOCK, "[redacted]").replace(" %", "\u00a0%")


def _is_latin(text: str) -> bool:
    try:
        _plain(text).encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _fonts() -> Path:
    """The folder of DejaVu Sans, which comes with matplotlib; it is not imported for that."""
    found = find_spec("matplotlib")
    folders = list(found.submodule_search_locations or []) if found is not None else []
    for folder in folders:
        fonts = Path(folder) / "mpl-data" / "fonts" / "ttf"
        if (fonts / "DejaVuSans.ttf").exists():
            return fonts
    raise FormatError("this report has letters beyond Latin-1 and no DejaVu Sans is installed")
