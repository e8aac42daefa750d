"""A receipt that comes back countersigned: kept in the ledger once, and only if it is right."""

from __future__ import annotations

import json

import pytest

from datasites.errors import Reason
from datasites.plans.answers import COUNTERSIGNATURE_FILE
from models import weights_to_bytes
from privacy import (
    Countersignature,
    EntryKind,
    SigningKey,
    canonical_bytes,
    countersign,
    countersignature_from_json,
    countersignature_to_json,
    fingerprint,
    sha256_hex,
    signed_receipt_from_json,
    verify_countersignature,
)

HOSPITAL, RESEARCHER = "a@hospital.example", "r@university.example"


@pytest.fixture
def served(by_hand):
    """A run that was answered, with its receipt."""
    from models import initial_weights

    by_hand.begin(by_hand.world.task())
    by_hand.result(1)
    new = initial_weights("small_cnn", text=None, classes=2, image_size=32, seed=2)
    by_hand.write(weights__safetensors=weights_to_bytes(new))
    by_hand.finish()
    by_hand.agent.step()
    return by_hand


def _signed(world, *, key: SigningKey | None = None, **changes: object) -> Countersignature:
    text = world.answer("t1").receipt
    fields = {
        "site": HOSPITAL,
        "request": "t1",
        "receipt_sha256": sha256_hex(text.encode()),
        "checkpoint": signed_receipt_from_json(json.loads(text)).receipt.checkpoint,
        "key": key or world.link.signing_key,
    }
    return countersign(**{**fields, **changes})


def _send(served, signed: Countersignature, job: str) -> None:
    data = canonical_bytes(countersignature_to_json(signed))
    served.world.link.submit(site=HOSPITAL, job=job, files={COUNTERSIGNATURE_FILE: data})
    served.agent.step()


def _kept(world) -> list[Countersignature]:
    return [
        countersignature_from_json(one.entry.detail)
        for one in world.site.ledger.entries()
        if one.entry.kind is EntryKind.RECEIPT_COUNTERSIGNED
    ]


def test_it_is_kept_once_and_by_the_key_that_was_compared(served):
    world = served.world
    signed = _signed(world)
    assert fingerprint(signed.public_hex).replace(" ", "-") == world.link.fingerprint
    _send(served, signed, "back-1")
    _send(served, signed, "back-2")
    assert _kept(world) == [signed]
    verify_countersignature(_kept(world)[0])
    assert world.answer("back-1") is None  # nothing is said when all is well
    assert not list((world.site.syftbox).rglob(COUNTERSIGNATURE_FILE))


@pytest.mark.parametrize(
    "change",
    [
        {"site": "b@hospital.example"},
        {"request": "t2"},
        {"receipt_sha256": "e" * 64},
        {"key": SigningKey.generate()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_was_not_sent_to_them_is_refused(served, change):
    world = served.world
    _send(served, _signed(world, **change), "back")
    assert world.answer("back").reason is Reason.MALFORMED_REQUEST
    assert _kept(world) == []


@pytest.mark.parametrize("name", ["../card", "../refusals", "/etc/hostname", "t1/../t1", ".."])
def test_a_request_that_is_a_path_is_looked_for_nowhere(served, name):
    """The key is right and the signature holds; files that the site has are no requests."""
    world = served.world
    (world.site.root / "refusals.json").write_text("{}")
    _send(served, _signed(world, request=name), "back")
    assert world.answer("back").reason is Reason.MALFORMED_REQUEST
    assert _kept(world) == []


ODD = (None, True, 1, 10**30, float("nan"), [], {}, [[1]], "", "\x00", "\ud800", "../card")


@pytest.mark.parametrize("field", ["format", "site", "request", "receipt", "ledger", "key",
                                   "signature", "sequence", "entry_hash"])  # fmt: skip
def test_whatever_a_field_holds_the_agent_goes_on(served, field):
    """Each of these is refused in its turn; none ends the agent or stays in its inbox."""
    world = served.world
    whole = json.loads(canonical_bytes(countersignature_to_json(_signed(world))))
    inner = field in whole["ledger"]
    for number, value in enumerate(ODD):
        fields = {"ledger": {**whole["ledger"], field: value}} if inner else {field: value}
        data = json.dumps({**whole, **fields}).encode()
        job = f"back-{number}"
        world.link.submit(site=HOSPITAL, job=job, files={COUNTERSIGNATURE_FILE: data})
    for _ in ODD:
        served.agent.step()
    for number, _ in enumerate(ODD):
        assert world.answer(f"back-{number}").reason is Reason.MALFORMED_REQUEST
    assert _kept(world) == []
    _send(served, _signed(world), "right")
    assert len(_kept(world)) == 1


def test_what_is_no_countersignature_is_refused(served):
    world = served.world
    for number, data in enumerate((b"{", b"[]", b"[" * 100_000)):
        job = f"back-{number}"
        world.link.submit(site=HOSPITAL, job=job, files={COUNTERSIGNATURE_FILE: data})
        served.agent.step()
        assert world.answer(job).reason is Reason.MALFORMED_REQUEST
    assert _kept(world) == []
