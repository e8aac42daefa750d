"""`dura audit verify`: are the ledgers what their hospitals signed, and whole?

A run's folder is searched for every file whose name contains `ledger`. Each is verified against a
key that does not come from the ledger itself: the keys pinned in the run's `keys.json`, or one
given by hand. Receipts that the researcher holds say how far a ledger must reach at least, so a
ledger that was cut short or replaced is found as well, and a missing one is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import VerificationError
from orchestrator.receipts import check_receipt
from privacy import (
    Checkpoint,
    LedgerError,
    SignatureError,
    first_entry,
    verify_file,
)

KEYS_FILE = "keys.json"


@dataclass(frozen=True)
class LedgerFinding:
    """What was found about one ledger.

    Attributes:
        hospital: whose it is, `unknown` when no pinned key fits.
        path: the file, relative to the searched folder; empty when it is missing.
        entries: number of entries that hold.
        head: hash of the last one.
        problem: what is wrong, naming the entry; empty when all holds.
    """

    hospital: str
    path: str
    entries: int
    head: str
    problem: str

    @property
    def verified(self) -> bool:
        """Whether everything holds."""
        return not self.problem


def verify_run(folder: Path, *, key: str | None = None) -> list[LedgerFinding]:
    """Verify every ledger in `folder`, or the one ledger that `folder` is.

    Args:
        folder: a run's folder, a site's folder or a ledger file.
        key: hex public key to use instead of the run's `keys.json`.

    Raises:
        VerificationError: there is nothing to verify, or no key to verify it with.
    """
    if not folder.exists():
        raise VerificationError(f"{folder} is not there")
    ledgers = [folder] if folder.is_file() else _ledgers(folder)
    keys = {"": key} if key is not None else _pinned(folder)
    if not ledgers:
        raise VerificationError(f"there is no ledger in {folder}")
    checkpoints = {} if key is not None or folder.is_file() else _checkpoints(folder, keys)
    root = folder.parent if folder.is_file() else folder
    findings = [_verify(path, root, keys, checkpoints) for path in ledgers]
    seen = {finding.hospital for finding in findings}
    missing = sorted(set(checkpoints) - seen)
    return findings + [LedgerFinding(site, "", 0, "", "the ledger is missing") for site in missing]


def _ledgers(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*ledger*")
        if path.is_file() and path.suffix in (".jsonl", ".json")
    )


def _pinned(folder: Path) -> dict[str, str]:
    path = (folder.parent if folder.is_file() else folder) / KEYS_FILE
    try:
        keys: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise VerificationError(
            f"{path} is not there, so it is not known who should have signed; give --key HEX"
        ) from error
    except ValueError as error:
        raise VerificationError(f"{path} cannot be read: {error}") from error
    return keys


def _checkpoints(folder: Path, keys: dict[str, str]) -> dict[str, Checkpoint]:
    """Per hospital, the furthest ledger state that a receipt of its own names."""
    latest: dict[str, Checkpoint] = {}
    for path in sorted(folder.glob("receipts/*/*.json")):
        site = path.parent.name
        try:
            signed = check_receipt(path.read_text(), public_hex=keys[site])
        except (VerificationError, KeyError) as error:
            raise VerificationError(
                f"receipt {path.name} of {site} does not hold: {error}"
            ) from error
        point = signed.receipt.checkpoint
        if site not in latest or point.sequence > latest[site].sequence:
            latest[site] = point
    return latest


def _verify(
    path: Path, root: Path, keys: dict[str, str], checkpoints: dict[str, Checkpoint]
) -> LedgerFinding:
    name = str(path.relative_to(root))
    owner = _owner(path, keys)
    if owner is None:
        return LedgerFinding(
            "unknown", name, 0, "", "entry 0 names a key that no hospital of this run has"
        )
    try:
        summary = verify_file(path, public_hex=keys[owner], checkpoint=checkpoints.get(owner))
    except (LedgerError, SignatureError) as error:
        return LedgerFinding(owner, name, 0, "", str(error))
    return LedgerFinding(owner, name, summary.entries, summary.head.entry_hash, "")


def _owner(path: Path, keys: dict[str, str]) -> str | None:
    """The hospital whose pinned key the ledger's first entry names, or that its folder is of."""
    if "" in keys:
        return ""
    claimed = _claimed_key(path)
    for site, key in keys.items():
        if key == claimed:
            return site
    # A first entry that was tampered with must not hide whose ledger it is.
    return _by_settings(path, keys)


def _claimed_key(path: Path) -> str:
    """The key that the opening entry names; empty when there is no such entry."""
    with path.open("rb") as file:
        line = file.readline(65_536)
    try:
        return first_entry(line).resource
    except LedgerError:
        return ""


def _by_settings(path: Path, keys: dict[str, str]) -> str | None:
    settings = path.parent / "site.toml"
    if settings.exists():
        text = settings.read_text()
        for site in keys:
            if f'"{site}"' in text:
                return site
    return None
