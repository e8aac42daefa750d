"""`dura audit verify` against what people hold: each way to falsify a ledger or a receipt is named.

A hospital that holds its own key is the opponent: it can sign whatever chain it likes, so only the
receipts that it gave away and the countersignatures that it cannot make tell the truth. And the
other way round: a researcher who brings a receipt that the hospital never signed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.audit.verify import verify_run
from orchestrator.commands import audit as audit_cli
from orchestrator.errors import VerificationError
from privacy import (
    Budget,
    Checkpoint,
    Entry,
    EntryKind,
    Ledger,
    Receipt,
    SigningKey,
    Unit,
    canonical_bytes,
    commit,
    countersign,
    countersignature_entry,
    event_to_json,
    fingerprint,
    reserve,
    set_budget,
    sha256_hex,
    sign_receipt,
    signed_receipt_to_json,
)
from tests.orchestrator.storykit import PLAN, RESEARCHER, ROUND, SITE, TIME, VERSION, wanted


@dataclass
class Books:
    """A run's folder with one hospital's ledger, and the receipts that its researcher holds."""

    folder: Path
    key: SigningKey = field(default_factory=SigningKey.generate)
    researcher: SigningKey = field(default_factory=SigningKey.generate)

    def __post_init__(self) -> None:
        (self.folder / "keys.json").write_text(json.dumps({SITE: self.key.public_hex}))
        self.open("A")

    def open(self, name: str, *, budget: float = 8.0) -> None:
        """A new ledger, in which the researcher is paired."""
        path = self.folder / "sites" / name / "ledger.jsonl"
        path.parent.mkdir(parents=True)
        self.ledger = Ledger.create(path, self.key, time=TIME, actor="owner")
        set_to = Budget(epsilon=budget, delta=1e-5)
        self.ledger.append(set_budget(set_to, reason="r", time=TIME, actor="owner"))
        self.note(EntryKind.PLAN_APPROVED, PLAN)
        mark = fingerprint(self.researcher.public_hex).replace(" ", "-")
        self.note(EntryKind.PEER_PAIRED, RESEARCHER, fingerprint=mark)

    def note(self, kind: EntryKind, resource: str, /, **detail: object) -> None:
        self.ledger.append(
            Entry(
                kind=kind,
                actor="owner",
                action="note",
                resource=resource,
                reason="",
                time=TIME,
                detail=detail,
            )
        )

    def serve(self, request: str, *, back: bool = True) -> None:
        """One run: its entries, a receipt for the researcher, and (`back`) its countersignature."""
        asked = wanted(request, "train/1")
        self.ledger.transact(lambda account: reserve(account, asked, time=TIME, actor=RESEARCHER))
        self.ledger.transact(
            lambda account: commit(
                account, reservation=request, event=ROUND, time=TIME, actor="agent"
            )
        )
        self.note(EntryKind.OUTPUT_RELEASED, f"{request}-weights", kind="weights", request=request)
        head = self.ledger.head()
        text = self.receipt(request, head, self.key)
        if back:
            self.countersign(request, head, sha256_hex(text.encode()), key=self.researcher)

    def countersign(self, request: str, at: Checkpoint, sha: str, *, key: SigningKey) -> None:
        signed = countersign(site=SITE, request=request, receipt_sha256=sha, checkpoint=at, key=key)
        self.ledger.append(countersignature_entry(signed, actor=RESEARCHER, time=TIME))

    def receipt(self, request: str, at: Checkpoint, key: SigningKey) -> str:
        receipt = Receipt(
            site=SITE,
            study="study",
            request=request,
            round=1,
            plan_sha256=PLAN,
            dataset_version=VERSION,
            event=event_to_json(ROUND),
            epsilon_total=self.ledger.account().epsilon(),
            delta=1e-5,
            unit=Unit.PATIENT,
            disclosed={},
            outputs={},
            checkpoint=at,
            time=TIME,
        )
        text = canonical_bytes(signed_receipt_to_json(sign_receipt(receipt, key))).decode()
        path = self.folder / "receipts" / SITE / f"{request}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return text

    def lines(self, change) -> None:
        """The ledger's file with its lines changed, as somebody without the key would."""
        lines = self.ledger.path.read_bytes().splitlines(keepends=True)
        self.ledger.path.write_bytes(b"".join(change(lines)))

    def problem(self) -> str:
        [finding] = verify_run(self.folder)
        return finding.problem


@pytest.fixture
def books(tmp_path):
    made = Books(tmp_path)
    for request in ("r1", "r2", "r3"):
        made.serve(request)
    return made


def test_both_sides_agree_on_an_honest_ledger(books):
    [finding] = verify_run(books.folder)
    assert (finding.problem, finding.receipts, finding.countersigned) == ("", 3, 3)
    done = CliRunner().invoke(audit_cli.app, ["verify", str(books.folder)])
    assert "3 receipts and 3 countersignatures agree" in done.output


def test_without_the_hospitals_key_every_change_is_found(books):
    whole = books.ledger.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    entries = [i for i, line in enumerate(lines) if line.startswith(b'{"body"')]
    ways = {
        "flip": [*lines[:6], lines[6].replace(b"note", b"nope"), *lines[7:]],
        "drop": lines[:6] + lines[8:],
        "double": lines[:8] + lines[6:],
        "reorder": [*lines[:6], *lines[8:10], *lines[6:8], *lines[10:]],
        "truncate": lines[: entries[-3]],
    }
    for way, changed in ways.items():
        books.ledger.path.write_bytes(b"".join(changed))
        assert "ledger entry" in books.problem(), way
    books.ledger.path.write_bytes(whole)
    assert books.problem() == ""


def test_a_hospital_that_cuts_its_ledger_is_caught_by_a_receipt(books):
    cut = {4: "entry 14 was seen earlier, so the ledger was truncated", 2: ""}
    for lines, said in cut.items():
        books.lines(lambda all_, n=lines: all_[:-n])
        assert said in books.problem()
        if not said:
            # Only the last countersignature went: the receipt that it is for is still fulfilled.
            assert verify_run(books.folder)[0].countersigned == 2
        books = _again(books)


def _again(books: Books) -> Books:
    folder = books.folder.parent / f"{books.folder.name}-again"
    folder.mkdir(exist_ok=True)
    made = Books(folder)
    for request in ("r1", "r2", "r3"):
        made.serve(request)
    return made


def test_a_hospital_that_rewrites_its_ledger_is_caught_by_an_earlier_receipt(books):
    """The last receipt agrees with the new chain; the earlier ones, and their signers, do not."""
    books.ledger.path.unlink()
    books.ledger.path.parent.rmdir()
    books.open("A", budget=80.0)
    books.serve("r9")
    assert "rewritten" in books.problem() or "forked" in books.problem()


def test_a_rewritten_ledger_shows_by_the_countersignatures_alone(books):
    """No receipt at hand: the hospital took over what its researcher signed for the old chain."""
    kept = [
        one.entry
        for one in books.ledger.entries()
        if one.entry.kind is EntryKind.RECEIPT_COUNTERSIGNED
    ]
    for path in (books.folder / "receipts" / SITE).iterdir():
        path.unlink()
    assert books.problem() == ""
    books.ledger.path.unlink()
    books.ledger.path.parent.rmdir()
    books.open("A", budget=80.0)
    for entry in kept:
        books.note(EntryKind.OUTPUT_HELD, "r")
        books.ledger.append(entry)
    assert (
        "entry 6: differs from what was seen earlier; the ledger was rewritten" in books.problem()
    )


def test_a_ledger_shown_with_two_faces_was_forked(books):
    head = books.ledger.head()
    books.receipt("x1", head, books.key)
    books.receipt("x2", replace(head, entry_hash="f" * 64), books.key)
    assert f"entry {head.sequence}: was shown to people with different contents" in books.problem()


def test_a_receipt_that_the_hospital_did_not_sign_is_named(books):
    forged = books.receipt("r2", books.ledger.head(), SigningKey.generate())
    assert "receipt r2.json" in books.problem()
    posing = json.loads(forged) | {"key": books.key.public_hex}
    (books.folder / "receipts" / SITE / "r2.json").write_text(json.dumps(posing))
    assert "receipt r2.json: the receipt does not hold" in books.problem()


def test_a_countersignature_that_the_researcher_did_not_make_is_named(books):
    """The hospital makes one up for another chain, with a key of its own or with somebody's."""
    head = books.ledger.head()
    books.countersign("r4", head, "a" * 64, key=books.key)
    assert "never paired as r@university.example" in books.problem()


def test_a_countersignature_with_other_figures_is_named(books):
    entry = next(
        one.entry
        for one in books.ledger.entries()
        if one.entry.kind is EntryKind.RECEIPT_COUNTERSIGNED
    )
    detail = {**entry.detail, "receipt": "b" * 64}
    books.ledger.append(replace(entry, detail=detail))
    done = CliRunner().invoke(audit_cli.app, ["verify", str(books.folder)])
    assert isinstance(done.exception, VerificationError)
    assert "entry 16: the countersignature of r@university.example does not hold" in done.output


def test_a_missing_ledger_is_named(books):
    books.ledger.path.rename(books.folder / "sites" / "elsewhere.bin")
    (books.folder / "other-ledger.jsonl").write_bytes(b"{}\n")
    problems = {finding.hospital: finding.problem for finding in verify_run(books.folder)}
    assert problems[SITE] == "the ledger is missing"
