"""Fills the values of facts into a draft. Pure.

Each `{{name}}` becomes the reference's text, exactly. A name that these facts do not have, or a
brace that is not part of a reference, is refused: a text with a hole in it never comes out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.reports.errors import RenderError
from models.reports.facts import Facts, Reference, references

_REFERENCE: Final = re.compile(r"\{\{([^{}\n]{1,80})\}\}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text and where its facts stand.

    Attributes:
        text: the draft with all values filled in.
        used: names of the references, each once, in order of first use.
    """

    text: str
    used: tuple[str, ...]


def render(draft: str, facts: Facts) -> Rendered:
    """Fill in a draft.

    Raises:
        RenderError: an unknown reference, or a brace outside a reference.
    """
    table = references(facts)
    text = fill(draft, table)
    return Rendered(text, tuple(dict.fromkeys(_REFERENCE.findall(draft))))


def fill(draft: str, table: Mapping[str, Reference]) -> str:
    """Fill in a draft from references by name.

    Raises:
        RenderError: an unknown reference, or a brace outside a reference.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in table:
            raise RenderError(
                f"the draft points to {{{{{name}}}}} at {match.start()}, which these facts do not "
                f"have; they have {sorted(table)}"
            )
        return table[name].text

    if stray := re.search(r"[{}]", _REFERENCE.sub("", draft)):
        raise RenderError(
            f"the draft has a {stray.group()!r} outside a reference; a reference is {{{{name}}}}"
        )
    return _REFERENCE.sub(value_of, draft)
