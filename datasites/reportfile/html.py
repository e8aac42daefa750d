"""A report as one HTML file: no script, no link, nothing loaded from elsewhere.

Everything in it is escaped by the template engine, and what would show as nothing is made visible.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from datasites.desk import BLOCK
from datasites.escaping import visible
from datasites.reportfile.page import Page

if TYPE_CHECKING:
    from jinja2 import Template


def html_of(page: Page) -> str:
    """The whole file."""
    return _template().render(page=page, block=BLOCK)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment.get_template("report.html.j2")
