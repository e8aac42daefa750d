"""Which keys a released report may be signed with: given by hand, or pinned by a study's run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchestrator.audit.verify import KEYS_FILE
from orchestrator.errors import StudyError

_LAST_RUN = "last_run.json"


def known_keys(*, key: str, study: Path | None) -> Mapping[str, str]:
    """Public key (hex) to the hospital it is known for; empty when nothing was given.

    Args:
        key: one key, given by hand.
        study: a study's folder, or a run's.

    Raises:
        StudyError: the study has no run, or the run's keys cannot be read.
    """
    if key:
        return {key.strip().lower(): ""}
    if study is None:
        return {}
    path = _run_of(study) / KEYS_FILE
    try:
        keys: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise StudyError(f"{path} is not there: no run pinned a key yet; give --key HEX") from error
    except ValueError as error:
        raise StudyError(f"{path} cannot be read: {error}") from error
    return {public: site for site, public in keys.items()}


def key_named_in(data: bytes) -> str:
    """The key a report says it was signed with; empty when it says none."""
    try:
        found = json.loads(data)["public_key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _run_of(folder: Path) -> Path:
    if (folder / KEYS_FILE).exists() or not (folder / _LAST_RUN).exists():
        return folder
    try:
        return Path(json.loads((folder / _LAST_RUN).read_text())["out"])
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{folder / _LAST_RUN} cannot be read: {error}") from error
