"""Countersignatures: every field is signed, and no other document passes for one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from privacy.errors import LedgerError, SignatureError
from privacy.ledger.chain import Checkpoint
from privacy.ledger.countersignatures import (
    countersign,
    countersignature_entry,
    countersignature_from_json,
    countersignature_to_json,
    verify_countersignature,
)
from privacy.signing.canonical import canonical_bytes
from privacy.signing.keys import SigningKey
from privacy.spending.entries import EntryKind


@pytest.fixture
def signed(key):
    return countersign(
        site="a@hospital.example",
        request="study-1-r0001",
        receipt_sha256="a" * 64,
        checkpoint=Checkpoint(7, "d" * 64),
        key=key,
    )


def test_sign_send_keep_read_verify(signed):
    read = countersignature_from_json(json.loads(canonical_bytes(countersignature_to_json(signed))))
    assert read == signed
    verify_countersignature(read)
    entry = countersignature_entry(signed, actor="r@x.example", time="2026-11-24T12:00:00Z")
    assert entry.kind is EntryKind.RECEIPT_COUNTERSIGNED
    assert countersignature_from_json(entry.detail) == signed


@pytest.mark.parametrize(
    "change",
    [
        {"site": "b@hospital.example"},
        {"request": "study-1-r0002"},
        {"receipt_sha256": "b" * 64},
        {"checkpoint": Checkpoint(6, "d" * 64)},
        {"checkpoint": Checkpoint(7, "e" * 64)},
        {"public_hex": SigningKey.generate().public_hex},
        {"signature_hex": "0" * 128},
        {"signature_hex": "short"},
    ],
)
def test_every_field_is_signed(signed, change):
    with pytest.raises(SignatureError):
        verify_countersignature(replace(signed, **change))


def test_what_is_no_countersignature_is_refused(signed):
    good = countersignature_to_json(signed)
    bad = [{k: v for k, v in good.items() if k != name} for name in good]
    bad += [{**good, name: None} for name in ("format", "site", "request", "receipt", "ledger")]
    bad += [{**good, "extra": 1}, {**good, "ledger": {"sequence": -1, "entry_hash": "d" * 64}}]
    bad += [{**good, "ledger": {"sequence": 1}}, {**good, "format": "dura.receipt/2"}, None, []]
    for value in bad:
        with pytest.raises(SignatureError):
            countersignature_from_json(value)
    with pytest.raises(LedgerError):
        replace(signed, receipt_sha256="x")


def test_a_key_from_its_seed_is_that_key():
    seed = bytes(range(32))
    assert SigningKey.from_seed(seed).public_hex == SigningKey.from_seed(seed).public_hex
    with pytest.raises(SignatureError, match="32 bytes"):
        SigningKey.from_seed(seed[:31])
