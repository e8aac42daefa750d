"""Refusals in the ledger, so that they are all counted and no peer can flood it.

The first `EACH` refusals of one peer for one reason (`EACH_RUN` of runs) are written one by one.
After that the count goes on in a small file, and an entry is written when it reaches a power of
two, with the count: a peer that sends a million bad messages leaves some thirty entries a reason.
"""

from __future__ import annotations

from datasites.errors import DamagedFileError
from datasites.plans import read_record
from datasites.site import Site, write_json
from privacy import EntryKind

EACH = 16
EACH_RUN = 256
COUNTS_FILE = "refusals.json"


def worth_an_entry(count: int, each: int = EACH) -> bool:
    """Whether the refusal with this number (from 1) is written to the ledger. Pure."""
    return count <= each or count & (count - 1) == 0


class RefusalLog:
    """Writes refusals to a site's ledger; see the module's docstring."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._path = site.root / COUNTS_FILE
        self._counts = self._read()

    def record(self, *, peer: str, action: str, resource: str, code: str, each: int = EACH) -> None:
        """Count one refusal, and write it down if it is worth an entry."""
        name = f"{peer} {action} {code}"
        count = self._counts.get(name, 0) + 1
        if worth_an_entry(count, each):
            self._site.log(
                EntryKind.RUN_REFUSED,
                actor=peer,
                action=action,
                resource=resource,
                reason=code,
                detail={"count": count} if count > each else {},
            )
        self._counts[name] = count
        write_json(self._path, self._counts)

    def _read(self) -> dict[str, int]:
        try:
            return {name: int(count) for name, count in read_record(self._path).items()}
        except (FileNotFoundError, DamagedFileError, ValueError, TypeError, OverflowError):
            return {}  # counting anew writes more entries, never fewer
