"""A hospital that holds its own key, and tells its ledger and receipts as it likes.

`honest` makes the entries and receipts of a few runs by the makers that hospitals use
(`privacy.spending.spend`). A false story changes them at will; `publish` then writes a chain that
holds and receipts that are signed, over whatever is told: no signature is ever wrong, so what finds
a false story is never a signature.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from privacy import (
    AccountFold,
    Budget,
    Checkpoint,
    Disclosure,
    DisclosureKind,
    Entry,
    EntryKind,
    Receipt,
    Reservation,
    SigningKey,
    Unit,
    canonical_bytes,
    commit,
    countersign,
    countersignature_entry,
    describe,
    disclose,
    evaluation_event,
    event_to_json,
    fingerprint,
    poisson_gaussian,
    reserve,
    set_budget,
    sha256_hex,
    sign_receipt,
    signed_receipt_to_json,
)
from privacy.ledger.chain import GENESIS_HASH, entry_line, seal_line

SITE, RESEARCHER, STUDY = "a@hospital.example", "r@university.example", "study"
TIME = "2026-11-24T12:00:00Z"
PLAN, VERSION = "a" * 64, "b" * 64
KEY, ANN = SigningKey.from_seed(b"h" * 32), SigningKey.from_seed(b"r" * 32)
ROUND = poisson_gaussian(sampling_rate=0.05, noise_multiplier=2.0, steps=20)
FIGURES = evaluation_event(noise_multiplier=8.0)


def note(kind: EntryKind, resource: str, /, **detail: object) -> Entry:
    """An entry that no maker of `privacy` makes: a decision, an ingest, what the desk logs."""
    return Entry(
        kind=kind, actor="owner", action="note", resource=resource, reason="", time=TIME,
        detail=detail,
    )  # fmt: skip


def wanted(name: str, request: str, **changes: object) -> Reservation:
    """A reservation of one run."""
    event = FIGURES if request == "report" else ROUND
    fields = {
        "reservation": name, "event": event, "researcher": RESEARCHER, "study": STUDY,
        "mechanisms": describe(event, clip_norm=1.0, published_units=100.0),
        "dataset_version": VERSION, "code_sha256": PLAN, "request": request,
    }  # fmt: skip
    return Reservation(**(fields | changes))


@dataclass
class Told:
    """A receipt that will be signed: its fields, and the number of the entry that it names."""

    fields: dict
    at: int


@dataclass
class Story:
    """What a hospital tells."""

    entries: list[Entry] = field(default_factory=list)
    receipts: list[Told] = field(default_factory=list)

    def copy(self) -> Story:
        """The same story, to be changed; entries are values and shared."""
        return Story(list(self.entries), [Told(dict(one.fields), one.at) for one in self.receipts])

    def account(self):
        """Of the entries so far, by the hospital's own fold."""
        fold = AccountFold()
        for entry in self.entries:
            fold.add(entry)
        return fold.snapshot()

    def places(self, kind: EntryKind) -> list[int]:
        """Numbers of the entries of a kind."""
        return [number for number, entry in enumerate(self.entries) if entry.kind is kind]

    def insert(self, number: int, *entries: Entry) -> None:
        """Put entries at a number; receipts go on naming the entries that they named."""
        self.entries[number:number] = entries
        for one in self.receipts:
            one.at += len(entries) if one.at >= number else 0

    def drop(self, number: int) -> Entry:
        """Take an entry out; receipts go on naming the entries that they named, or those before."""
        for one in self.receipts:
            one.at -= one.at >= number
        return self.entries.pop(number)

    def run(self, number: int, request: str, *, release: str = "weights") -> None:
        """One run from its reservation to its receipt."""
        name = f"study-r{number:04d}"
        asked = wanted(name, request)
        add = self.entries.append
        add(reserve(self.account(), asked, time=TIME, actor=RESEARCHER))
        add(commit(self.account(), reservation=name, event=asked.event, time=TIME, actor="agent"))
        add(note(EntryKind.OUTPUT_HELD, f"{name}-{release}", kind=release, request=name))
        if release == "case":
            shown = Disclosure(
                kind=DisclosureKind.CASE_REPORT, units=1, scope="a case", dataset_version=VERSION
            )
            add(
                disclose(
                    shown, resource=f"{name}-case", reason="released", time=TIME, actor="owner"
                )
            )
        add(note(EntryKind.OUTPUT_RELEASED, f"{name}-{release}", kind=release, request=name))
        self.receipts.append(self.told(name, request))

    def told(self, name: str, request: str) -> Told:
        """The honest receipt for a run, after the entries so far."""
        account = self.account()
        fields = {
            "site": SITE, "study": STUDY, "request": name, "plan_sha256": PLAN,
            "round": int(request[6:]) if request.startswith("train/") else 0,
            "dataset_version": VERSION, "time": TIME,
            "event": event_to_json(FIGURES if request == "report" else ROUND),
            "epsilon_total": account.epsilon(), "delta": account.required_budget().delta,
            "unit": Unit.PATIENT, "disclosed": account.disclosed_by_kind(),
            "outputs": {"weights.safetensors": "c" * 64},
        }  # fmt: skip
        return Told(fields, len(self.entries) - 1)

    def lines(self, key: SigningKey = KEY) -> tuple[bytes, list[str]]:
        """The ledger's bytes under one seal, and the hash of each entry."""
        written, hashes, link = [], [], GENESIS_HASH
        for number, entry in enumerate(self.entries):
            line, link = entry_line(entry, sequence=number, previous=link)
            written.append(line)
            hashes.append(link)
        sealed, _ = seal_line(sequence=len(hashes) - 1, head=link, key=key)
        return b"".join([*written, sealed]), hashes

    def texts(self) -> dict[str, str]:
        """Request to the text of its signed receipt."""
        _, hashes = self.lines()
        return {one.fields["request"]: signed_text(one, hashes) for one in self.receipts}


def signed_text(told: Told, hashes: list[str]) -> str:
    point = Checkpoint(sequence=told.at, entry_hash=hashes[told.at])
    receipt = Receipt(**told.fields, checkpoint=point)
    return canonical_bytes(signed_receipt_to_json(sign_receipt(receipt, KEY))).decode()


def honest(runs: int = 3, *, countersigned: bool = True) -> Story:
    """The story of a hospital that did what its code does: some rounds, then a case report."""
    story = Story()
    mark = fingerprint(ANN.public_hex).replace(" ", "-")
    story.entries += [
        note(EntryKind.LEDGER_OPENED, KEY.public_hex),
        set_budget(Budget(epsilon=8.0, delta=1e-5), reason="board", time=TIME, actor="owner"),
        note(EntryKind.PEER_PAIRED, RESEARCHER, fingerprint=mark),
        note(EntryKind.DATASET_INGESTED, "train", dataset_version=VERSION, unit="patient"),
        note(EntryKind.PLAN_APPROVED, PLAN),
    ]
    for number in range(1, runs + 1):
        story.run(number, f"train/{number}")
        if countersigned:
            _countersign(story)
    story.run(runs + 1, "report", release="case")
    return story


def _countersign(story: Story) -> None:
    """The researcher's signature for the last receipt, as the hospital writes it down."""
    _, hashes = story.lines()
    told = story.receipts[-1]
    text = signed_text(told, hashes)
    signed = countersign(
        site=SITE,
        request=told.fields["request"],
        receipt_sha256=sha256_hex(text.encode()),
        checkpoint=Checkpoint(sequence=told.at, entry_hash=hashes[told.at]),
        key=ANN,
    )
    story.entries.append(countersignature_entry(signed, actor=RESEARCHER, time=TIME))


def publish(story: Story, folder: Path, *, texts: dict[str, str] | None = None) -> Path:
    """Write a run's folder with the ledger and the receipts (`texts`: those that were given)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keys.json").write_text(json.dumps({SITE: KEY.public_hex}))
    ledger = folder / "sites" / "A" / "ledger.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(story.lines()[0])
    home = folder / "receipts" / SITE
    home.mkdir(parents=True, exist_ok=True)
    for request, text in (texts or story.texts()).items():
        (home / f"{request}.json").write_text(text)
    return ledger


def changed(entry: Entry, **detail: object) -> Entry:
    """The entry with other details."""
    return replace(entry, detail={**entry.detail, **detail})


RESERVED, COMMITTED = EntryKind.SPEND_RESERVED, EntryKind.SPEND_COMMITTED
RELEASED, SHOWN = EntryKind.OUTPUT_RELEASED, EntryKind.DISCLOSURE
BUDGET, APPROVED = 1, 4
"""Numbers of these entries in an honest story."""
RUNS = 3
TINY = poisson_gaussian(sampling_rate=0.001, noise_multiplier=50.0, steps=1)
FALSE: dict[str, Callable[[Story, int], str]] = {}
"""Every kind of false story: changes an honest one, and returns what the audit must answer."""


def false(change: Callable[[Story, int], str]) -> Callable[[Story, int], str]:
    """Add a kind of false story."""
    FALSE[change.__name__] = change
    return change


def raw_reservation(name: str, **changes: object) -> Entry:
    """A reservation's entry without any check."""
    made = note(EntryKind.SPEND_RESERVED, VERSION, **wanted(name, "train/1").to_json())
    return changed(made, **changes)


def end(story: Story, *entries: Entry) -> None:
    """Add entries that no receipt has seen."""
    story.entries += entries
