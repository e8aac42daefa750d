"""A ledger as an auditor shows it, read by the hospital's own fold; entries come from its makers.

Proven: committed spends count as committed, open ones in full, destroyed ones not at all; a
disclosure of every unit makes everything infinite, at the auditor as at the hospital; every figure
is the hospital's own and that of an independent reader; disagreeing accountants raise an alarm;
refusals and budgets are listed.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.audit import account as audit_ledger
from orchestrator.audit.account import KEPT, read_account
from privacy import (
    AccountantError,
    Budget,
    Disclosure,
    DisclosureKind,
    EntryKind,
    Scope,
    commit,
    describe,
    destroy,
    disclose,
    epsilon,
    filter_epsilon,
    gaussian,
    plan_charges,
    replay,
    reserve,
    set_budget,
)
from privacy.ledger.chain import SealedEntry
from tests.orchestrator.ledgeroracle import oracle_epsilon
from tests.orchestrator.storykit import KEY, RESEARCHER, TIME, Story, note, publish, wanted


class Paper(Story):
    """A story in one line a spend."""

    def __init__(self, *, delta: float = 1e-6) -> None:
        super().__init__()
        self.entries.append(note(EntryKind.LEDGER_OPENED, KEY.public_hex))
        self.budget(1e6, delta=delta)

    def budget(self, amount: float, *, delta: float, **whose: object) -> None:
        made = Budget(epsilon=amount, delta=delta)
        self.entries.append(set_budget(made, reason="more", time=TIME, actor="ann", **whose))

    def reserve(self, name: str, noise: float, *, version: str = "v1") -> None:
        event = gaussian(noise_multiplier=noise)
        told = describe(event, clip_norm=1.0, published_units=100.0)
        asked = wanted(name, "train/1", event=event, mechanisms=told, dataset_version=version)
        self.entries.append(reserve(self.account(), asked, time=TIME, actor=RESEARCHER))

    def commit(self, name: str, noise: float) -> None:
        event = gaussian(noise_multiplier=noise)
        self.entries.append(
            commit(self.account(), reservation=name, event=event, time=TIME, actor="agent")
        )

    def destroy(self, name: str) -> None:
        gone = destroy(self.account(), reservation=name, reason="killed", time=TIME, actor="ann")
        self.entries.append(gone)

    def disclose(self, units: int | None, scope: str) -> None:
        shown = Disclosure(
            kind=DisclosureKind.CASE_REPORT, units=units, scope=scope, dataset_version="v1"
        )
        self.entries.append(
            disclose(shown, resource="x", reason="released", time=TIME, actor="ann")
        )

    def ingest(self, version: str, unit: str) -> None:
        self.entries.append(
            note(EntryKind.DATASET_INGESTED, "train", dataset_version=version, unit=unit)
        )

    def read(self):
        sealed = [
            SealedEntry(entry=entry, sequence=number, entry_hash="0" * 64)
            for number, entry in enumerate(self.entries)
        ]
        return read_account(replay(sealed, keep=KEPT))


@pytest.fixture
def paper() -> Paper:
    return Paper()


def test_what_counts(paper):
    paper.ingest("v1", "patient")
    for name, noise in (("a", 2.0), ("b", 3.0), ("c", 0.5)):
        paper.reserve(name, noise)
    paper.commit("a", 2.0)
    paper.destroy("c")
    account = paper.read()
    events = [gaussian(noise_multiplier=2.0), gaussian(noise_multiplier=3.0)]
    assert account.if_fixed == pytest.approx(epsilon(events, delta=1e-6))
    assert account.epsilon == filter_epsilon(plan_charges(events), delta=1e-6)
    assert account.epsilon == paper.account().epsilon()
    assert account.at_once == {k: paper.account().epsilon_of_units(k) for k in (2, 3)}
    assert account.naive == pytest.approx(sum(epsilon(e, delta=1e-6) for e in events))
    assert account.naive > account.epsilon
    assert (account.delta, account.unit, account.budget) == (1e-6, "patient", 1e6)
    assert [line.state for line in account.spends] == ["committed", "reserved", "destroyed"]
    assert account.spends[-1].running == pytest.approx(account.epsilon)
    assert set(account.second_opinions) == {"rdp", "prv"}
    assert account.alarms == ()


def test_every_kind_of_unit_is_named_and_each_spend_has_its_own(paper):
    paper.reserve("a", 9.0)
    paper.ingest("v1", "image")
    paper.reserve("b", 9.0)
    paper.ingest("v2", "patient")
    paper.reserve("c", 9.0, version="v2")
    paper.reserve("d", 9.0, version="v3")
    account = paper.read()
    assert account.unit == "image, then patient"
    units = {line.reservation: line.unit for line in account.spends}
    assert units == {"a": "image", "b": "image", "c": "patient", "d": ""}


def test_disclosures_are_shown_and_those_of_everybody_end_the_claim(paper):
    paper.reserve("a", 5.0)
    paper.disclose(1, "case report 7")
    account = paper.read()
    assert math.isfinite(account.epsilon)
    assert account.disclosures[0].detail == "1 unit: case report 7"
    paper.disclose(None, "a custom job")
    assert paper.read().epsilon == paper.account().epsilon() == math.inf
    assert paper.read().disclosures[1].detail == "every unit: a custom job"


def test_refusals_budgets_and_unsafe_options_are_listed(paper):
    paper.budget(9.0, delta=1e-6)
    paper.budget(2.0, delta=1e-6, scope=Scope.STUDY, name="brain")
    paper.entries += [
        note(EntryKind.RUN_REFUSED, "r1"),
        note(EntryKind.JOB_FAILED, "r2"),
        note(EntryKind.UNSAFE_OPTION_USED, "--unsafe"),
    ]
    account = paper.read()
    assert [one.resource for one in account.refusals] == ["r1", "r2"]
    assert account.budgets[1].detail == "epsilon 9 at delta 1e-06"
    assert account.budgets[2].detail == "epsilon 2 at delta 1e-06 for study brain"
    assert account.budget == 9.0
    assert account.unsafe[0].resource == "--unsafe"
    assert account.epsilon == 0.0


def test_accountants_that_disagree_raise_an_alarm(paper, monkeypatch):
    def disagree(_events, *, delta):
        raise AccountantError(
            record=2.0, opinions={"prv": 3.0}, delta=delta, disagreements=("prv says 3",)
        )

    monkeypatch.setattr(audit_ledger, "agreed_opinions", disagree)
    paper.reserve("a", 1.0)
    account = paper.read()
    assert (account.if_fixed, account.second_opinions) == (2.0, {"prv": 3.0})
    assert account.alarms == ("prv says 3",)


_MOVES = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "commit", "destroy", "budget", "shown", "everybody"]),
        st.sampled_from([4.0, 8.0]),
    ),
    max_size=8,
)


@settings(max_examples=20, deadline=None)
@given(moves=_MOVES)
def test_hospital_auditor_and_an_independent_reader_agree(tmp_path_factory, moves):
    """Whatever a hospital's code can write: three figures, one by other code altogether."""
    paper = Paper(delta=1e-5)
    for number, (move, noise) in enumerate(moves):
        waiting = [*paper.account().open_spends.items()]
        if move == "reserve":
            paper.reserve(f"s{number}", noise)
        elif move == "budget":
            paper.budget(1e6, delta=1e-4)
        elif move == "shown":
            paper.disclose(1, "a case")
        elif move == "everybody":
            paper.disclose(None, "all")
        elif waiting and move == "destroy":
            paper.destroy(waiting[0][0])
        elif waiting:
            name, spend = waiting[0]
            paper.commit(name, spend.event.noise_multiplier)
    told = paper.read()
    ledger = publish(paper, tmp_path_factory.mktemp("oracle"))
    assert told.epsilon == paper.account().epsilon(delta=1e-5)
    assert told.if_fixed == paper.account().epsilon_if_fixed(delta=1e-5)
    assert told.if_fixed == pytest.approx(oracle_epsilon(ledger, interval=told.interval), rel=1e-6)
