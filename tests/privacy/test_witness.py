"""Which receipts show that a ledger is behind, and what the owner's settlement covers."""

import json
from dataclasses import replace

import pytest

from privacy.errors import LedgerError, SignatureError
from privacy.ledger.chain import Checkpoint
from privacy.ledger.ledger import Ledger
from privacy.ledger.receipts import Receipt, sign_receipt, signed_receipt_to_json
from privacy.ledger.witness import is_lost, loss_entry, own_receipt
from privacy.signing.canonical import canonical_bytes
from privacy.signing.keys import SigningKey
from privacy.spending.payloads import Disclosure, DisclosureKind
from privacy.spending.spend import disclose
from tests.privacy.test_receipts import RECEIPT

LOST = replace(RECEIPT, checkpoint=Checkpoint(99, "d" * 64), time="2026-11-23T12:00:00Z")
EARLIER, LATER = "2026-11-23T11:00:00Z", "2026-11-23T13:00:00Z"


def text(receipt: Receipt, key: SigningKey) -> str:
    return canonical_bytes(signed_receipt_to_json(sign_receipt(receipt, key))).decode()


def test_only_ones_own_receipt_is_one(key: SigningKey) -> None:
    assert own_receipt(text(LOST, key), public_hex=key.public_hex) == LOST
    told = json.loads(text(LOST, key))
    told["receipt"]["ledger"]["sequence"] = 100
    for false in (json.dumps(told), text(LOST, SigningKey.generate()), "", "\udc80", "[" * 9999):
        with pytest.raises(SignatureError):
            own_receipt(false, public_hex=key.public_hex)


def test_a_loss_covers_receipts_from_before_it_and_no_others(ledger: Ledger) -> None:
    assert is_lost(LOST, held=False, account=ledger.account())
    assert not is_lost(LOST, held=True, account=ledger.account())
    with pytest.raises(LedgerError, match="needs a reason"):
        loss_entry(LOST, reason=" ", time=LATER, actor="owner")
    ledger.append(loss_entry(LOST, reason="the disk died", time=LATER, actor="owner"))
    account = ledger.account()
    assert account.everything_disclosed
    assert not is_lost(LOST, held=False, account=account)
    assert not is_lost(replace(LOST, time=EARLIER), held=False, account=account)
    assert is_lost(replace(LOST, time="2026-11-23T13:00:01Z"), held=False, account=account)


def test_a_clock_that_was_set_back_settles_all_the_same(ledger: Ledger) -> None:
    ledger.append(loss_entry(LOST, reason="gone", time=EARLIER, actor="owner"))
    assert not is_lost(LOST, held=False, account=ledger.account())


def test_no_other_disclosure_settles_a_loss(ledger: Ledger) -> None:
    for kind, units in ((DisclosureKind.CUSTOM_JOB, None), (DisclosureKind.LEDGER_LOST, 1)):
        shown = Disclosure(kind=kind, units=units, scope="x", dataset_version="v")
        ledger.append(disclose(shown, resource="x", reason="r", time=LATER, actor="owner"))
    assert is_lost(LOST, held=False, account=ledger.account())
