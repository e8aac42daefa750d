"""Who is whom: names as people write them, and when two of them are one person. Pure.

A reviewer is named by a name, by an address, or by both: `Ann Lee <ann@h.example>`. Names are
compared as people read them: compatibility forms, case and spaces make no other person (NFKC and
case folding of the Unicode Standard, sections 3.11 and 3.13), and a name with a character that
cannot be seen is refused. Two spellings are one person

- when both say an address: if it is the same address;
- else: if the names are the same.

So "Dr Ann" and "DR  ANN " are one vote, and "Ann" and "Ann <ann@h.example>" are too. A researcher
is known by an address alone. A name without one is theirs if it holds all words of what stands
before the `@`; a reviewer who only shares that name says their own address in `site.toml`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from datasites.escaping import is_invisible

_SPELLED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>\s]+@[^<>\s]+)>\s*")
_WORDS = re.compile(r"[\W_]+")


def plain_name(name: str) -> str:
    """A name as it is recorded: compatibility forms and spaces made one.

    Raises:
        ValueError: it is empty, or holds a character that cannot be seen.
    """
    hidden = [one for one in name if is_invisible(one)]
    if hidden:
        raise ValueError(
            f"the name {name!r} holds U+{ord(hidden[0]):04X}, which cannot be seen; write it anew"
        )
    plain = " ".join(unicodedata.normalize("NFKC", name).split())
    if not plain:
        raise ValueError("say who decides: --as NAME")
    return plain


def is_same_person(one: str, other: str) -> bool:
    """Whether two spellings are of one person."""
    (name, address), (other_name, other_address) = _parts(one), _parts(other)
    if address and other_address:
        return address == other_address
    return name == other_name


def count_people(names: Iterable[str]) -> int:
    """How many different people some spellings are, at least: each one as few as possible."""
    different: list[str] = []
    for name in names:
        if not any(is_same_person(name, known) for known in different):
            different.append(name)
    return len(different)


def listed_as(name: str, people: Sequence[str]) -> str | None:
    """The spelling of `people` that `name` is, None if it is none of them or of several.

    Raises:
        ValueError: it is empty, or holds a character that cannot be seen.
    """
    plain = plain_name(name)
    exactly = [one for one in people if _parts(one) == _parts(plain)]
    found = exactly or [one for one in people if is_same_person(one, plain)]
    return found[0] if len(found) == 1 or exactly else None


def is_researcher(name: str, researcher: str) -> bool:
    """Whether a reviewer's spelling is of the researcher with this address."""
    spelled, address = _parts(name)
    own = _fold(researcher)
    if own in _fold(name):
        return True
    if address:
        return False
    words = set(_WORDS.split(own.partition("@")[0])) - {""}
    return bool(words) and words <= set(_WORDS.split(spelled))


def _parts(spelling: str) -> tuple[str, str]:
    """Name and address, folded; the address alone is a name as well."""
    folded = _fold(spelling)
    found = _SPELLED.fullmatch(folded)
    if found:
        return found["name"].strip(), found["address"]
    return folded, folded if re.fullmatch(r"[^\s@]+@[^\s@]+", folded) else ""


def _fold(text: str) -> str:
    """As people read it; what cannot be seen is left out of what older records say."""
    seen = "".join(one for one in text if one.isspace() or not is_invisible(one))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return " ".join(folded.split())
