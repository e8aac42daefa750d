"""Text from outside as it may be shown: what cannot be seen is written out. Pure.

One function stands between words that others chose (a `model.py`, a name of a class, a folder on
the relay, a notice, a signed report) and a terminal, a log or a text file. Every character that
moves the cursor, changes the order of what is read or shows as nothing becomes `<U+XXXX>`:

- controls of C0 and C1 (escape sequences: clear the screen, write to the clipboard, conceal);
- format characters (bidirectional, zero-width, tags, soft hyphen), separators of lines and
  paragraphs, every space but the plain one;
- surrogates, private-use and unassigned characters;
- the rest of Unicode's Default_Ignorable_Code_Point (fillers, variation selectors) and the blank
  Braille pattern.

What is shown was shown before unchanged: `visible(visible(x)) == visible(x)`. A text that says
`<U+001B>` itself looks like an escaped one; so whoever must know counts (`count_invisible`).
See UAX #9, UTS #36 and UTR #51 of the Unicode Consortium; CVE-2021-42574 ("Trojan Source").
"""

from __future__ import annotations

import unicodedata

_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_SHOW_AS_NOTHING = frozenset(
    {
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    }
)


def is_invisible(character: str) -> bool:
    """Whether a character shows as nothing, or as something else than itself."""
    if character == " " or (character.isascii() and character.isprintable()):
        return False
    return unicodedata.category(character) in _CATEGORIES or ord(character) in _SHOW_AS_NOTHING


def visible(text: str, *, keep: str = "") -> str:
    """`text` with everything that cannot be seen written as `<U+XXXX>`.

    Args:
        text: from anybody.
        keep: characters that stay as they are; line ends where a text of many lines is shown.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"<U+{ord(one):04X}>" if one not in keep and is_invisible(one) else one for one in text
    )


def count_invisible(text: str, *, keep: str = "\n") -> int:
    """How many characters of `text` `visible` writes out."""
    return sum(one not in keep and is_invisible(one) for one in text)
