"""`dura audit verify`: are the ledgers what their hospitals signed, and whole?

A run's folder is searched for every file whose name contains `ledger`. Each is verified against a
key that does not come from the ledger itself: the keys pinned in the run's `keys.json`, or one
given by hand. Then it is held against what its hospital can be shown to have shown to people:

- every receipt that lies in the run's folder, signed by the hospital, names an entry of it;
- every countersignature in the ledger, by a researcher whose key the ledger says was paired, names
  one as well.

A ledger that was cut short, rewritten, or shown to two people with different contents is found, and
so is a missing one, a receipt that its hospital never signed, and a countersignature that its
researcher never made.

Then it is read with the hospital's own fold, which refuses a story that cannot have happened, and
each receipt is joined to exactly one committed spend (`orchestrator.audit.story`). Every answer
that the run used must have left a receipt here. Whatever does not hold is a problem of that
hospital, named by its entry or receipt; no figure is given then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.audit import account as audit_ledger
from orchestrator.audit import story as audit_story
from orchestrator.errors import VerificationError
from orchestrator.hospitals import check_receipt
from privacy import (
    Checkpoint,
    EntryKind,
    LedgerError,
    LedgerTamperedError,
    Receipt,
    Replay,
    SignatureError,
    countersignature_from_json,
    entries_of_kind,
    fingerprint,
    first_entry,
    read_file,
    replay,
    verify_countersignature,
    verify_file,
)

KEYS_FILE = "keys.json"
STATE_FILE = "state.json"
_KEPT = audit_ledger.KEPT | audit_story.KEPT
_ABOUT_PEERS = (EntryKind.PEER_PAIRED, EntryKind.RECEIPT_COUNTERSIGNED)


@dataclass(frozen=True)
class LedgerFinding:
    """What was found about one ledger.

    Attributes:
        hospital: whose it is, `unknown` when no pinned key fits.
        path: the file, relative to the searched folder; empty when it is missing.
        entries: number of entries that hold.
        head: hash of the last one.
        problem: what is wrong, naming the entry; empty when all holds.
        receipts: how many receipts of the hospital name an entry of it, and do hold.
        countersigned: how many countersignatures of researchers it keeps, and do hold.
        replay: what it tells, where all holds.
    """

    hospital: str
    path: str
    entries: int
    head: str
    problem: str
    receipts: int = 0
    countersigned: int = 0
    replay: Replay | None = None

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
    held = {} if key is not None or folder.is_file() else _receipts(folder, keys)
    root = folder.parent if folder.is_file() else folder
    findings = [_verify(path, root, keys, held) for path in ledgers]
    seen = {finding.hospital for finding in findings}
    missing = sorted(set(held) - seen)
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


@dataclass(frozen=True)
class _Held:
    """What a researcher holds of one hospital: its receipts, and what is wrong with one."""

    receipts: tuple[Receipt, ...] = ()
    problem: str = ""

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The entries that the receipts name."""
        return [receipt.checkpoint for receipt in self.receipts]


def _receipts(folder: Path, keys: dict[str, str]) -> dict[str, _Held]:
    """Per hospital, its receipts; every answer that the run used must have one."""
    found: dict[str, _Held] = {}
    for path in sorted(folder.glob("receipts/*/*.json")):
        site, text = path.parent.name, path.read_text()
        held = found.get(site, _Held())
        try:
            receipt = check_receipt(text, public_hex=keys[site]).receipt
            if (receipt.site, receipt.request) != (site, path.stem):
                raise VerificationError(f"it is for {receipt.request} of {receipt.site}")
        except (VerificationError, KeyError) as error:
            why = "no key of it is known" if isinstance(error, KeyError) else str(error)
            found[site] = replace(held, problem=held.problem or f"receipt {path.name}: {why}")
        else:
            found[site] = replace(held, receipts=(*held.receipts, receipt))
    for site, number in _used(folder):
        held = found.get(site, _Held())
        if number not in {receipt.round for receipt in held.receipts}:
            problem = f"its update of round {number} was used, but no receipt of it is here"
            found[site] = replace(held, problem=held.problem or problem)
    return found


def _used(folder: Path) -> list[tuple[str, int]]:
    """Hospital and round of each update that the run aggregated."""
    path = folder / STATE_FILE
    if not path.exists():
        return []
    try:  # not by `RunState`, which takes PyTorch along
        lines = json.loads(path.read_bytes())["contributions"]
        return [(str(line["hospital"]), int(line["round"])) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError(f"{path} is damaged: {error}") from error


def _verify(
    path: Path, root: Path, keys: dict[str, str], receipts: dict[str, _Held]
) -> LedgerFinding:
    name = str(path.relative_to(root))
    owner = _owner(path, keys)
    if owner is None:
        return LedgerFinding(
            "unknown", name, 0, "", "entry 0 names a key that no hospital of this run has"
        )
    held = receipts.get(owner, _Held())
    broken = LedgerFinding(owner, name, 0, "", held.problem)
    if held.problem:
        return broken
    try:
        signed = countersigned(path)
        summary = verify_file(
            path, public_hex=keys[owner], checkpoints=[*held.checkpoints, *signed]
        )
        told = _told(path, keys[owner], held.receipts)
    except (LedgerError, SignatureError, VerificationError) as error:
        return replace(broken, problem=str(error))
    return LedgerFinding(
        owner,
        name,
        summary.entries,
        summary.head.entry_hash,
        "",
        receipts=len(held.receipts),
        countersigned=len(signed),
        replay=told,
    )


def _told(path: Path, public_hex: str, receipts: tuple[Receipt, ...]) -> Replay:
    """What a ledger tells, once it was found true and in agreement with every receipt.

    Raises:
        LedgerError: its story is impossible. VerificationError: it is not what receipts say.
    """
    told = replay(
        read_file(path, public_hex=public_hex),
        at={receipt.checkpoint.sequence for receipt in receipts},
        reserving={receipt.request for receipt in receipts},
        keep=_KEPT,
    )
    audit_story.check_story(told, public_hex=public_hex)
    for receipt in receipts:
        try:
            audit_story.check_receipt_of(told, receipt)
        except VerificationError as error:
            raise VerificationError(f"receipt {receipt.request}.json: {error}") from error
    return told


def countersigned(path: Path) -> list[Checkpoint]:
    """The ledger states that researchers countersigned, each checked against its paired key.

    The lines are taken as they lie there; whether they are in their places says `verify_file`.

    Raises:
        LedgerError: the file cannot be read, or a countersignature does not hold; names its entry.
    """
    found = []
    paired: set[tuple[str, str]] = set()
    for sequence, entry in entries_of_kind(path, *_ABOUT_PEERS):
        if entry.kind is EntryKind.PEER_PAIRED:
            paired.add((entry.resource, str(entry.detail.get("fingerprint"))))
            continue
        try:
            signed = countersignature_from_json(entry.detail)
            verify_countersignature(signed)
        except SignatureError as error:
            raise LedgerTamperedError(
                sequence, f"the countersignature of {entry.actor} does not hold: {error}"
            ) from error
        mark = fingerprint(signed.public_hex).replace(" ", "-")
        if (entry.actor, mark) not in paired:
            raise LedgerTamperedError(
                sequence,
                f"countersigned with a key ({mark}) that was never paired as {entry.actor}",
            )
        found.append(signed.checkpoint)
    return found


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
