"""Bad messages, kept for the owner's eyes: a private folder bounded in number and in bytes.

The newest are kept and the oldest go; of a large message only its beginning is kept. A peer that
sends a million bad messages fills no disk.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

MAX_FILES = 100
MAX_BYTES = 32 * 1024 * 1024
MAX_FILE_BYTES = 1024 * 1024


def quarantine(folder: Path, raw: bytes) -> None:
    """Keep (the beginning of) a bad message; drop the oldest that are too many or too much."""
    folder.mkdir(exist_ok=True, mode=0o700)
    kept = folder / hashlib.sha256(raw).hexdigest()
    kept.write_bytes(raw[:MAX_FILE_BYTES])
    kept.chmod(0o600)
    total = 0
    newest_first = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for number, path in enumerate(newest_first):
        total += path.stat().st_size
        if path != kept and (number >= MAX_FILES or total > MAX_BYTES):
            path.unlink()
