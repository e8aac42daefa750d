"""What must hold after every death, read from the files that are there in the end.

Ledgers are verified line by line with their keys; receipts with theirs; everything else is compared
with them. Each function raises `AssertionError` with what does not hold.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from crashkit.world import HOSPITALS, ROUNDS, World, mail

from datasites.agent.request_store import RequestState, RequestStore
from datasites.desk import Desk, ItemKind, ItemState
from datasites.site.site import Site
from models import weights_from_bytes
from orchestrator.hospitals.receipts import check_receipt
from privacy import (
    AccountFold,
    Entry,
    EntryKind,
    epsilon,
    event_from_json,
    read_file,
    sha256_hex,
    verify_file,
)

STEP = 0.01
CARD = "card-"
Losses = Counter[tuple[str, str]]
"""How often a hospital can have lost a job, by (hospital, reason)."""


@dataclass
class Hospital:
    """A hospital's files, read once."""

    world: World
    name: str

    def __post_init__(self) -> None:
        self.site = Site.open(self.world.site(self.name))
        key = self.site.key.public_hex
        verify_file(self.site.ledger_path, public_hex=key)
        self.sealed = list(read_file(self.site.ledger_path, public_hex=key))
        self.entries = [sealed.entry for sealed in self.sealed]
        self.reserved = self._spends(EntryKind.SPEND_RESERVED)
        self.committed = self._spends(EntryKind.SPEND_COMMITTED)
        self.requests = {one.id: one for one in RequestStore(self.site).all()}
        self.items = Desk(self.site).items()

    def _spends(self, kind: EntryKind) -> list[tuple[str, Entry]]:
        """(reservation, entry), in order."""
        found = [entry for entry in self.entries if entry.kind is kind]
        return [(str(entry.detail["reservation"]), entry) for entry in found]

    def epsilon(self) -> float:
        """Epsilon by hand: committed events, and reserved ones that were never committed."""
        events = {}
        for kind in (EntryKind.SPEND_RESERVED, EntryKind.SPEND_COMMITTED):
            for entry in self.entries:
                if entry.kind is kind:
                    events[entry.detail["reservation"]] = event_from_json(entry.detail["event"])
        return epsilon(list(events.values()), delta=1e-5)

    def told(self, *, until: int) -> float:
        """What the hospital's account said after that entry: the filter's figure."""
        fold = AccountFold()
        for entry in self.entries[: until + 1]:
            fold.add(entry)
        return fold.snapshot().epsilon()

    def count(self, kind: EntryKind, resource: str) -> int:
        return sum(entry.kind is kind and entry.resource == resource for entry in self.entries)


def check(world: World, losses: Losses | None = None) -> None:
    """Everything, after all is over.

    Args:
        world: where all of it lies.
        losses: what may have been lost, see `losses_are_explained`.
    """
    hospitals = [Hospital(world, name) for name in HOSPITALS]
    for hospital in hospitals:
        requests_ended_once(hospital)
        budget_neither_lost_nor_doubled(hospital)
        releases_neither_repeated_nor_lost(hospital)
        nothing_half_done(hospital)
    receipts_match_ledgers(world, {mail(one.name): one for one in hospitals})
    losses_are_explained(world, hospitals, losses or Counter())
    rounds_aggregated_once(world)
    nothing_runs(world)


def requests_ended_once(hospital: Hospital) -> None:
    """Each request came to one end, which record, ledger and answer agree on."""
    for name, request in hospital.requests.items():
        where = f"{hospital.name} {name} ({request.state})"
        assert not request.is_open, f"{where} is still open"
        assert request.answered, f"{where} was not answered"
        reserved = sum(one == name for one, _ in hospital.reserved)
        committed = sum(one == name for one, _ in hospital.committed)
        failed = hospital.count(EntryKind.JOB_FAILED, name)
        refused = hospital.count(EntryKind.RUN_REFUSED, name)
        expected = {
            RequestState.DONE: (1, 1, 0, 0),
            RequestState.FAILED: (reserved, 0, 1, 0),
            RequestState.REFUSED: (reserved, 0, 0, 1),
        }[request.state]
        assert reserved <= 1, f"{where} was reserved {reserved} times"
        assert (reserved, committed, failed, refused) == expected, (where, expected)


def budget_neither_lost_nor_doubled(hospital: Hospital) -> None:
    """What the account says is spent is what the requests cost, each once."""
    reserved = {name: entry for name, entry in hospital.reserved if CARD not in name}
    committed = {name for name, _ in hospital.committed if CARD not in name}
    assert set(reserved) <= set(hospital.requests), "a spend without a request"
    done = {r.id for r in hospital.requests.values() if r.state is RequestState.DONE}
    assert committed == done, hospital.name
    per_run = Counter(entry.detail["request"] for entry in reserved.values())
    for number in range(1, ROUNDS + 1):
        assert 1 <= per_run[f"train/{number}"] <= 2, (hospital.name, per_run)
    assert len(reserved) <= ROUNDS + 1, (hospital.name, per_run)
    found = hospital.site.ledger.account().epsilon_if_fixed()  # as by hand: composed, no filter
    assert found == pytest.approx(hospital.epsilon(), rel=1e-9), hospital.name


def releases_neither_repeated_nor_lost(hospital: Hospital) -> None:
    """One held and one release entry an item; what was released is what the researcher has."""
    world = hospital.world
    ids = [item.id for item in hospital.items]
    for kind in (EntryKind.OUTPUT_HELD, EntryKind.OUTPUT_RELEASED):
        found = {entry.resource for entry in hospital.entries if entry.kind is kind}
        assert found <= set(ids), f"{hospital.name}: {kind} of {found - set(ids)}, not on the desk"
    for item in hospital.items:
        assert hospital.count(EntryKind.OUTPUT_HELD, item.id) == 1, f"{item.id} was held twice"
        released = int(item.state is ItemState.RELEASED)
        assert hospital.count(EntryKind.OUTPUT_RELEASED, item.id) == released, item.id
        if item.kind is ItemKind.WEIGHTS:
            assert released, f"{item.id} is {item.state}"
            assert item.sent, f"{item.id} was not sent"
            sent = _outputs(world, hospital.name) / item.job / "outputs" / "weights.safetensors"
            assert sent.exists(), f"{item.id} did not arrive"
            kept = hospital.site.root / "desk" / item.id / "weights.safetensors"
            assert sent.read_bytes() == kept.read_bytes(), item.id
    done = {r.id for r in hospital.requests.values() if r.state is RequestState.DONE}
    weights = {item.request for item in hospital.items if item.kind is ItemKind.WEIGHTS}
    assert weights == {name for name in done if "-r0" in name}, (
        "an update paid for and not released"
    )


def nothing_half_done(hospital: Hospital) -> None:
    """No leftover that grows or blocks: no inputs, results, scratch or half-written files."""
    root = hospital.site.root
    assert {path.suffix for path in (root / "jobs").iterdir()} <= {".json"}, hospital.name
    scratch = root / "scratch"  # made with the first sandbox
    assert not scratch.exists() or not list(scratch.iterdir()), hospital.name
    inbox = hospital.world.relay / "channels" / mail(hospital.name) / "inbox"
    waiting = [path for path in inbox.rglob("msg*") if path.is_file()]
    assert not waiting, f"{hospital.name} left messages on the relay: {waiting}"


def receipts_match_ledgers(world: World, hospitals: dict[str, Hospital]) -> None:
    """Every receipt the researcher holds: signed, in the ledger, of what was spent and sent."""
    paths = list(world.out.glob("receipts/*/*.json"))
    assert paths
    for path in paths:
        hospital = hospitals[path.parent.name]
        receipt = check_receipt(path.read_text(), public_hex=hospital.site.key.public_hex).receipt
        point = receipt.checkpoint
        assert hospital.sealed[point.sequence].entry_hash == point.entry_hash, path
        spend = dict(hospital.committed)[receipt.request]
        assert event_from_json(spend.detail["event"]) == event_from_json(receipt.event), path
        then = hospital.told(until=point.sequence)
        assert receipt.epsilon_total == pytest.approx(then, rel=1e-9), path
        if "weights.safetensors" in receipt.outputs:
            kept = hospital.site.root / "desk" / f"{receipt.request}-weights"
            found = sha256_hex((kept / "weights.safetensors").read_bytes())
            assert receipt.outputs["weights.safetensors"] == found, path
    # And none is missing: whoever did what was asked has a receipt here.
    for email, hospital in hospitals.items():
        for request in hospital.requests.values():
            if request.state is RequestState.DONE:
                name = world.out / "receipts" / email / f"{request.id}.json"
                assert name.exists(), f"no receipt for {email} {request.id}"


def losses_are_explained(world: World, hospitals: list[Hospital], losses: Losses) -> None:
    """A job is lost only where somebody died with it, and the researcher was told of each, once.

    An agent that dies can lose the one job it ran. A machine takes every agent that runs on it, so
    here, where all three hospitals and the researcher share one, it can lose a job of each: those
    that had a spend reserved and nothing collected. No death explains a loss at a hospital whose
    agent lived, another reason, or a loss that the ledger does not have.
    """
    told = json.loads((world.out / "state.json").read_text())["refusals"]
    for hospital in hospitals:
        said = Counter(told.pop(mail(hospital.name), []))
        kept = Counter(
            str(request.reason)
            for request in hospital.requests.values()
            if request.state is not RequestState.DONE
        )
        assert said == kept, f"{hospital.name}: told {said}, its requests say {kept}"
        allowed = Counter({why: n for (name, why), n in losses.items() if name == hospital.name})
        assert said <= allowed, f"{hospital.name}: lost {said}, where {allowed} can have been"
    assert not told, f"refusals of {set(told)}, who are no hospitals here"


def rounds_aggregated_once(world: World) -> None:
    """Each update adds 0.01 to every weight, so the n-th global weights are n steps away."""
    state = json.loads((world.out / "state.json").read_text())
    assert state["rounds_done"] == ROUNDS
    assert [score["round"] for score in state["scores"]] == list(range(ROUNDS + 1))
    lines = Counter((line["round"], line["hospital"]) for line in state["contributions"])
    assert set(lines.values()) == {1}, lines
    timings = [timing["round"] for timing in state["timings"]]
    assert timings == list(range(1, ROUNDS + 1)), timings
    points = [
        weights_from_bytes((world.out / f"checkpoints/{number:04d}.safetensors").read_bytes())
        for number in range(ROUNDS + 1)
    ]
    for number, weights in enumerate(points):
        for name, tensor in weights.items():
            if tensor.is_floating_point():
                torch.testing.assert_close(
                    tensor, points[0][name] + STEP * number, rtol=0, atol=1e-5
                )
    assert (world.out / "report.html").exists()
    assert (world.out / "model.safetensors").exists()


def nothing_runs(world: World) -> None:
    """No sandbox outlives its agent."""
    assert not processes_of(world.root), "a process of this world still runs"


def processes_of(root: Path) -> list[int]:
    """Processes whose command line names a folder of the world."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if f"{root}/".encode() in words:
            found.append(int(path.parent.name))
    return found


def _outputs(world: World, name: str) -> Path:
    from crashkit.world import RESEARCHER

    from datasites.syftnet import wire

    box = world.study / "syftbox" / mail(name)
    return box / str(wire.review_prefix(RESEARCHER))
