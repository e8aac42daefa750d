import json
import math
from dataclasses import replace

import pytest

from privacy.accounting.claim import Unit
from privacy.accounting.events import event_to_json, poisson_gaussian
from privacy.errors import BudgetAmountError, EventError, LedgerError, SignatureError
from privacy.ledger.chain import Checkpoint
from privacy.ledger.receipts import (
    Receipt,
    SignedReceipt,
    receipt_to_json,
    sign_receipt,
    signed_receipt_from_json,
    signed_receipt_to_json,
    verify_receipt,
)
from privacy.signing.canonical import canonical_bytes
from privacy.signing.envelope import Purpose, sign_document
from privacy.signing.keys import SigningKey

RECEIPT = Receipt(
    site="hospital-a@example.org",
    study="brain",
    request="train/3",
    round=3,
    plan_sha256="a" * 64,
    dataset_version="b" * 64,
    event=event_to_json(poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=20)),
    epsilon_total=3.5,
    delta=1e-5,
    unit=Unit.PATIENT,
    disclosed={"case_report": 2},
    outputs={"model.safetensors": "c" * 64},
    checkpoint=Checkpoint(7, "d" * 64),
    time="2026-11-23T12:00:00Z",
)


@pytest.mark.parametrize("epsilon", [3.5, 0.0, 4, math.inf])
def test_sign_send_read_verify(key: SigningKey, epsilon: float) -> None:
    signed = sign_receipt(replace(RECEIPT, epsilon_total=epsilon), key)
    text = canonical_bytes(signed_receipt_to_json(signed))
    read = signed_receipt_from_json(json.loads(text))
    assert read == signed
    verify_receipt(read, public_hex=key.public_hex)


@pytest.mark.parametrize(
    "change",
    [
        {"site": "hospital-b"},
        {"study": "other"},
        {"request": "train/4"},
        {"round": 4},
        {"plan_sha256": "e" * 64},
        {"dataset_version": "f" * 64},
        {
            "event": event_to_json(
                poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=1)
            )
        },
        {"epsilon_total": 3.4},
        {"delta": 1e-6},
        {"unit": Unit.IMAGE},
        {"disclosed": {}},
        {"disclosed": {"case_report": 1}},
        {"outputs": {}},
        {"checkpoint": Checkpoint(6, "d" * 64)},
        {"time": "2026-11-23T12:00:01Z"},
    ],
)
def test_every_field_is_signed(key: SigningKey, change: dict[str, object]) -> None:
    assert len(Receipt.__dataclass_fields__) == 14
    signed = sign_receipt(RECEIPT, key)
    changed = replace(signed, receipt=replace(RECEIPT, **change))  # type: ignore[arg-type]
    with pytest.raises(SignatureError):
        verify_receipt(changed, public_hex=key.public_hex)


def test_another_key_is_refused(key: SigningKey) -> None:
    stranger = SigningKey.generate()
    signed = sign_receipt(RECEIPT, stranger)
    with pytest.raises(SignatureError, match="another key"):
        verify_receipt(signed, public_hex=key.public_hex)
    posing = replace(signed, public_hex=key.public_hex)
    with pytest.raises(SignatureError):
        verify_receipt(posing, public_hex=key.public_hex)


def test_a_ledger_signature_is_not_a_receipt(key: SigningKey) -> None:
    """The purpose is part of what is signed, so one kind of document never passes for another."""
    other = sign_document(receipt_to_json(RECEIPT), purpose=Purpose.LEDGER_SEAL, key=key)
    signed = SignedReceipt(receipt=RECEIPT, public_hex=key.public_hex, signature_hex=other)
    with pytest.raises(SignatureError):
        verify_receipt(signed, public_hex=key.public_hex)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"site": ""}, LedgerError),
        ({"request": "a b"}, LedgerError),
        ({"plan_sha256": "a"}, LedgerError),
        ({"outputs": {"x": "A" * 64}}, LedgerError),
        ({"round": -1}, LedgerError),
        ({"round": True}, LedgerError),
        ({"epsilon_total": -0.1}, LedgerError),
        ({"epsilon_total": math.nan}, LedgerError),
        ({"epsilon_total": True}, LedgerError),
        ({"epsilon_total": "3"}, LedgerError),
        ({"delta": 0.0}, BudgetAmountError),
        ({"time": "now"}, LedgerError),
        ({"event": {}}, EventError),
        ({"disclosed": {"gossip": 1}}, LedgerError),
        ({"disclosed": {"case_report": 0}}, LedgerError),
        ({"disclosed": {"case_report": True}}, LedgerError),
    ],
)
def test_fields_out_of_range(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        replace(RECEIPT, **change)  # type: ignore[arg-type]


def test_malformed_json(key: SigningKey) -> None:
    good = signed_receipt_to_json(sign_receipt(RECEIPT, key))
    inner = dict(good["receipt"])  # type: ignore[call-overload]
    bad_inner = [{**inner, name: None} for name in inner]
    bad_inner += [{k: v for k, v in inner.items() if k != name} for name in inner]
    bad_inner += [{**inner, "extra": 1}, {**inner, "ledger": {"sequence": 1}}, None, []]
    bad_inner += [{**inner, "relation": "replace_one"}]
    bad_inner += [{**inner, "unit": "family"}, {**inner, "outputs": 3}, {**inner, "format": "x"}]
    for bad in (
        None,
        {},
        {**good, "extra": 1},
        *({**good, "receipt": value} for value in bad_inner),
    ):
        with pytest.raises(SignatureError):
            signed_receipt_from_json(bad)


def test_a_receipt_cannot_be_changed_in_place() -> None:
    with pytest.raises(TypeError):
        RECEIPT.outputs["x"] = "y"  # type: ignore[index]
