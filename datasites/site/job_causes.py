"""Why a job's own outputs were not used: for the owner alone, in a file a request.

Not in the ledger: its length and hashes cross the hospital's boundary with every receipt, and that
a job ended badly depends on the images. A file is written before the job's outputs are kept, so a
crash in between loses at most the job, never the reason.

What a job printed may hold figures of a case. It goes into these files only, which this account
alone reads (0600), never into the agent's log, which others may collect.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from datasites.errors import DamagedFileError
from datasites.plans import read_record
from datasites.site.site import Site, write_file, write_json

FOLDER = "causes"


@dataclass(frozen=True)
class Cause:
    """Why what left was noise alone.

    Attributes:
        request: the request. plan_sha256: its plan.
        time: UTC time of the job's slot's end.
        what: what was wrong. log: the end of what the job printed.
    """

    request: str
    plan_sha256: str
    time: str
    what: str
    log: str


def keep_cause(site: Site, cause: Cause) -> None:
    """Write a cause down."""
    write_json(site.root / FOLDER / f"{cause.request}.json", asdict(cause))


def keep_printed(site: Site, request: str, printed: str) -> None:
    """Write down what a job printed of which nothing leaves, beside the causes."""
    write_file(site.root / FOLDER / f"{request}.log", printed.encode())


def causes(site: Site) -> list[Cause]:
    """All that is known, oldest first."""
    found = [_read(path) for path in (site.root / FOLDER).glob("[!.]*.json")]
    return sorted(found, key=lambda cause: (cause.time, cause.request))


def _read(path: Path) -> Cause:
    """A cause from its file; of a damaged one it is said that it is damaged."""
    try:
        found = Cause(**read_record(path))
        if all(isinstance(text, str) for text in asdict(found).values()):
            return found
        raise DamagedFileError(f"{path} is damaged: a field is no text")
    except (DamagedFileError, TypeError) as error:
        return Cause(path.stem, "", "", str(error), "")
