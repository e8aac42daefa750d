"""A site on disk: where everything lies, and the small files that hold its state.

    SITE/                     mode 700, the owner's only
      site.toml               settings
      keys/                   signing.key, patient.key, dataset.key, syft_keys.json,
                              SYFT_peers.json, seen/, quarantine/
      ledger.jsonl            the privacy ledger
      private/train, test     shards (arrays), never below the SyftBox
      private/synthetic/PLAN  DP-synthetic images of a plan's generator
      private/features/KEY    features of the training shard by the frozen encoder
      card.json               the published data card
      plans/SHA/              received bundles, byte for byte, with who sent them
      approvals/SHA.json      signed decisions
      behind.json             a receipt whose entry the ledger lacks: nothing runs
      refusals.json           how often each peer was refused, by reason
      jobs/REQUEST.json       what was asked, and how far it is; beside it its .files and .results
      scratch/                the sandboxes that run or wait now
      left-behind.txt         folders of sandboxes that could not be removed
      sent/                   what was sent to whom
      causes/REQUEST.json     why a job's own outputs were not used; for the owner alone
      private/openings/       what a receipt's commitments to unreleased outputs are hashes of
      agent.lock              held by the agent that serves the site
      desk/ITEM/              held outputs and the decisions on them
      syftbox/                what syft sees: job inbox, job states, mock data, nothing private

Files are written whole or not at all, and durably (`datasites.durable`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from datasites.durable import write_file
from datasites.errors import DamagedFileError, PlanError, SettingsError
from datasites.plans import parse_model
from datasites.site.card import DataCard
from datasites.site.settings import SiteSettings, read_settings, write_settings
from privacy import Entry, EntryKind, SigningKey, create_key, load_key

if TYPE_CHECKING:
    from privacy import Account, Budget, JsonValue, Ledger

__all__ = ["TEST", "TRAIN", "Site", "now_utc", "stamp", "write_file", "write_json"]

TRAIN = "train"
TEST = "test"


def now_utc() -> datetime:
    """The wall clock, in UTC. Only composition roots call it."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """A UTC time as it is written to records: ISO 8601 with a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON document with sorted keys, whole or not at all."""
    write_file(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def _is_old(card: bytes) -> bool:
    try:
        value = json.loads(card)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("version") == 1


@dataclass(frozen=True)
class Site:
    """An opened site; see the module's docstring for what lies where."""

    root: Path
    settings: SiteSettings

    @classmethod
    def open(cls, root: Path) -> Site:
        """Open the site in `root`.

        Raises:
            SettingsError: there is none, or its settings are broken.
        """
        return cls(root.absolute(), read_settings(root))

    @classmethod
    def create(cls, root: Path, settings: SiteSettings, *, budget: Budget, actor: str) -> Site:
        """Make a new site: folder, keys, settings, ledger and its budget.

        Raises:
            SettingsError: `root` exists and is not empty.
        """
        from privacy import Ledger, set_budget

        if root.exists() and any(root.iterdir()):
            raise SettingsError(f"{root} is not empty; choose a new folder for the site")
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        (root / "keys").mkdir(mode=0o700)
        create_key(root / "keys" / "signing.key")
        site = cls(root.absolute(), settings)
        _ = site.patient_key, site.dataset_key
        moment = stamp(now_utc())
        ledger = Ledger.create(site.ledger_path, site.key, time=moment, actor=actor)
        ledger.append(set_budget(budget, actor=actor, reason="site created", time=moment))
        # Last, because a folder counts as a site from the moment its settings are there.
        write_settings(root, settings)
        return site

    @cached_property
    def key(self) -> SigningKey:
        """The key that signs this site's ledger, approvals and receipts."""
        return load_key(self.root / "keys" / "signing.key")

    @cached_property
    def ledger(self) -> Ledger:
        """This site's privacy ledger; dp-accounting is imported when it is first opened."""
        from privacy import Ledger

        return Ledger.open(self.ledger_path, self.key)

    @property
    def ledger_path(self) -> Path:
        """The ledger's file."""
        return self.root / "ledger.jsonl"

    @property
    def keys(self) -> Path:
        """Local, private: keys, peers, quarantine."""
        return self.root / "keys"

    @property
    def syftbox(self) -> Path:
        """What syft sees."""
        return self.root / "syftbox"

    def shard(self, name: str) -> Path:
        """Where the shard `train` or `test` lies."""
        return self.root / "private" / name

    def synthetic(self, plan_sha256: str) -> Path:
        """Where a plan's synthetic images lie."""
        return self.root / "private" / "synthetic" / plan_sha256

    @property
    def features(self) -> Path:
        """Where features of the training shard are kept between rounds."""
        return self.root / "private" / "features"

    @property
    def left_behind(self) -> Path:
        """Where folders of sandboxes that could not be removed are named, a line each."""
        return self.root / "left-behind.txt"

    @property
    def openings(self) -> Path:
        """Where what opens commitments lies: each file's SHA-256 is a commitment."""
        return self.root / "private" / "openings"

    @property
    def has_data(self) -> bool:
        """Whether a shard was ingested and its card was written."""
        return (self.root / "card.json").exists()

    def card(self) -> DataCard:
        """The published data card.

        Raises:
            SettingsError: nothing was ingested yet.
        """
        try:
            data = (self.root / "card.json").read_bytes()
        except FileNotFoundError as error:
            raise SettingsError(
                f"{self.settings.name} has no data yet; run `dura site ingest {self.root} FOLDER`"
            ) from error
        except IsADirectoryError as error:
            raise DamagedFileError(f"{self.root / 'card.json'} is no file") from error
        if _is_old(data):
            raise SettingsError(
                "the data card here is of an earlier release, which named data by a hash without a "
                f"key: remove {self.root / 'card.json'} and run `dura site ingest` again"
            )
        return parse_model(DataCard, data, what="data card")

    @cached_property
    def pseudonym_key(self) -> str:
        """Hex key that makes case pseudonyms only this hospital can resolve."""
        path = self.keys / "pseudonym.key"
        if not path.exists():
            write_file(path, secrets.token_hex(32).encode())
        return path.read_text()

    @cached_property
    def patient_key(self) -> bytes:
        """Key of patients' pseudonyms at ingest: it never leaves `keys`, and no job gets it."""
        return self._secret("patient.key")

    @cached_property
    def dataset_key(self) -> bytes:
        """Key of published data set versions: it never leaves `keys`, and no job gets it.

        Where it is lost the shard has another published version: nothing runs on it before the
        images are ingested again and plans are approved for that version.
        """
        return self._secret("dataset.key")

    def published_version(self, name: str = TRAIN) -> str:
        """The version under which the world knows a shard that lies here; empty without one."""
        from datasites.ingest import published_version, shard_version

        private = shard_version(self.shard(name))
        return published_version(private, key=self.dataset_key) if private is not None else ""

    def _secret(self, name: str) -> bytes:
        """A key of 32 bytes in `keys`, made where it is missing, for this account only (0600)."""
        path = self.keys / name
        if not path.exists():
            write_file(path, secrets.token_hex(32).encode())
        try:
            return bytes.fromhex(path.read_text())
        except ValueError as error:
            raise DamagedFileError(f"{path} is damaged: it is no key in hex") from error

    def now(self) -> datetime:
        """The later of the clock and the ledger's newest entry.

        By it expiry is judged: a clock that is set back prolongs no approval and no rule.
        """
        return max(now_utc(), datetime.fromisoformat(self.ledger.account().last_time))

    def unit(self, account: Account) -> str:
        """Of what the account's epsilon is, as it is shown: every kind of unit in its history."""
        if account.unit or not self.has_data:
            return account.unit or "privacy unit"
        try:
            return self.card().unit
        except (PlanError, SettingsError, DamagedFileError):  # named by `datasites.owner.damage`
            return "privacy unit"

    def log(
        self,
        kind: EntryKind,
        *,
        actor: str,
        action: str,
        resource: str,
        reason: str = "",
        detail: Mapping[str, JsonValue] | None = None,
        time: str = "",
    ) -> None:
        """Append one entry to the ledger, stamped with `time` (UTC; empty for now)."""
        self.ledger.append(
            Entry(
                kind=kind,
                actor=actor,
                action=action,
                resource=resource,
                reason=reason,
                time=time or stamp(now_utc()),
                detail=dict(detail or {}),
            )
        )
