"""The site's own list of words that identify: `identifiers.txt` in the site's folder.

One word or phrase a line (names of staff, wards, the hospital's other names); lines that begin
with `#` are comments. A list that is there and cannot be read stops every release: a scan that
silently lost its words would promise what it does not do.
"""

from __future__ import annotations

from pathlib import Path

from datasites.errors import SettingsError

WORDS_FILE = "identifiers.txt"


def read_words(site_root: Path) -> tuple[str, ...]:
    """The words; empty when the site keeps no list.

    Raises:
        SettingsError: the list cannot be read.
    """
    path = site_root / WORDS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; mend it before releasing") from error
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
