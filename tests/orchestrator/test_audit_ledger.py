"""A ledger's entries as an auditor adds them up.

Proven: committed spends count as committed, open ones in full, destroyed ones not at all;
what cannot be read is infinite; a disclosure that names no units makes everything infinite; figures
agree with the accountant; disagreeing accountants raise an alarm; refusals and budgets are listed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from orchestrator import audit_ledger
from orchestrator.audit_ledger import read_account
from privacy import AccountantError, Entry, EntryKind, epsilon, event_to_json, gaussian, non_private

TIME = "2026-11-24T12:00:00Z"


def entry(kind: EntryKind, *, resource="r", reason="because", **detail) -> Entry:
    return Entry(
        kind=kind,
        actor="ann",
        action="act",
        resource=resource,
        reason=reason,
        time=TIME,
        detail=detail,
    )


def reserved(name: str, noise: float) -> Entry:
    return entry(
        EntryKind.SPEND_RESERVED,
        reservation=name,
        request=f"for {name}",
        dataset_version="d" * 64,
        code_sha256="c" * 64,
        event=event_to_json(gaussian(noise_multiplier=noise)),
    )


def committed(name: str, noise: float) -> Entry:
    event = event_to_json(gaussian(noise_multiplier=noise))
    return entry(EntryKind.SPEND_COMMITTED, reservation=name, event=event)


BUDGET = entry(EntryKind.BUDGET_SET, epsilon=8.0, delta=1e-6)


def test_what_counts():
    account = read_account(
        [
            BUDGET,
            entry(EntryKind.DATASET_INGESTED, resource="train", unit="patient"),
            reserved("a", 1.0),
            committed("a", 2.0),
            reserved("b", 3.0),
            reserved("c", 0.5),
            entry(EntryKind.SPEND_DESTROYED, reservation="c"),
        ]
    )
    events = [gaussian(noise_multiplier=2.0), gaussian(noise_multiplier=3.0)]
    assert account.epsilon == pytest.approx(epsilon(events, delta=1e-6))
    assert account.naive == pytest.approx(sum(epsilon(e, delta=1e-6) for e in events))
    assert account.naive > account.epsilon
    assert (account.delta, account.unit, account.budget) == (1e-6, "patient", 8.0)
    assert [line.state for line in account.spends] == ["committed", "reserved", "destroyed"]
    assert account.spends[-1].running == pytest.approx(account.epsilon)
    assert set(account.second_opinions) == {"rdp", "prv"}
    assert account.alarms == ()


def test_every_kind_of_unit_is_named_and_each_spend_has_its_own():
    def spent(name, version):
        one = reserved(name, 1.0)
        return replace(one, detail={**one.detail, "dataset_version": version})

    def ingested(version, unit):
        kind = EntryKind.DATASET_INGESTED
        return entry(kind, resource="train", dataset_version=version, unit=unit)

    account = read_account(
        [BUDGET, spent("a", "v1"), ingested("v1", "image"), spent("b", "v1"),
         ingested("v2", "patient"), spent("c", "v2"), spent("d", "v3")]
    )  # fmt: skip
    assert account.unit == "image, then patient"
    units = {line.reservation: line.unit for line in account.spends}
    assert units == {"a": "image", "b": "image", "c": "patient", "d": ""}


def test_what_cannot_be_read_is_infinite():
    broken = entry(EntryKind.SPEND_RESERVED, reservation="a", event={"class_name": "Magic"})
    account = read_account([BUDGET, broken])
    assert math.isinf(account.epsilon)
    assert read_account([BUDGET, reserved("a", 1.0), entry(
        EntryKind.SPEND_COMMITTED, reservation="a", event=event_to_json(non_private())
    )]).epsilon == math.inf  # fmt: skip


def test_disclosures_are_shown_and_those_of_everybody_end_the_claim():
    one = entry(EntryKind.DISCLOSURE, units=1, scope="case report 7")
    account = read_account([BUDGET, reserved("a", 5.0), one])
    assert math.isfinite(account.epsilon)
    assert account.disclosures[0].detail == "1 unit(s): case report 7"
    everybody = entry(EntryKind.DISCLOSURE, units=None, scope="a custom job")
    assert math.isinf(read_account([BUDGET, everybody]).epsilon)


def test_refusals_budgets_and_unsafe_options_are_listed():
    account = read_account(
        [
            BUDGET,
            entry(EntryKind.BUDGET_SET, epsilon=9.0, delta=1e-6, reason="more"),
            entry(EntryKind.RUN_REFUSED, reason="budget_exceeded"),
            entry(EntryKind.JOB_FAILED, reason="job_failed"),
            entry(EntryKind.UNSAFE_OPTION_USED, resource="--unsafe"),
        ]
    )
    assert [note.reason for note in account.refusals] == ["budget_exceeded", "job_failed"]
    assert account.budgets[1].detail == "epsilon 9 at delta 1e-06"
    assert account.budget == 9.0
    assert account.unsafe[0].resource == "--unsafe"
    assert account.epsilon == 0.0


def test_accountants_that_disagree_raise_an_alarm(monkeypatch):
    def disagree(_events, *, delta):
        raise AccountantError(
            record=2.0, opinions={"prv": 3.0}, delta=delta, disagreements=("prv says 3",)
        )

    monkeypatch.setattr(audit_ledger, "agreed_opinions", disagree)
    account = read_account([BUDGET, reserved("a", 1.0)])
    assert (account.epsilon, account.second_opinions) == (2.0, {"prv": 3.0})
    assert account.alarms == ("prv says 3",)
