"""An audit among patients: only with a name and a reason; logged, reserved first, then spent."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from datasites.durable import write_file
from datasites.errors import SettingsError
from datasites.ingest import make_shard, save_shard
from datasites.owner.audit_consent import FLAG, consented_shard
from datasites.site.card import DataCard
from datasites.site.site import TRAIN
from privacy import BudgetExceededError, EntryKind, gaussian

EVENT, LOUD = gaussian(noise_multiplier=2.0), gaussian(noise_multiplier=0.1)
consented = partial(consented_shard, clip_norm=1.0)


@pytest.fixture
def filled(site):
    """The site with eight random images."""
    images = np.random.default_rng(1).integers(0, 255, (8, 64, 64)).astype(np.uint8)
    shard = make_shard(
        images=images,
        labels=np.arange(8) % 4,
        units=np.arange(8),
        classes=site.settings.classes,
        rules="test",
    )
    (site.root / "private").mkdir(exist_ok=True)
    save_shard(shard, site.shard(TRAIN))
    card = DataCard.model_construct(
        version=2,
        site="A",
        email="owner@hospital-a.example",
        public_key=site.key.public_hex,
        dataset_version=shard.version,
        classes=shard.classes,
        image_size=64,
        unit=shard.unit_kind,
        units=8.0,
        units_per_class=(2.0,) * 4,
        noise_multiplier=10.0,
        mock="mock",
    )
    write_file(site.root / "card.json", card.model_dump_json().encode())
    return site


def kinds(site) -> list[EntryKind]:
    return [sealed.entry.kind for sealed in site.ledger.entries()]


def test_consent_is_logged_and_paid_for_before_an_image_is_read(filled):
    with consented(filled.root, event=EVENT, owner="ann", reason="a study of ours") as shard:
        assert len(shard.images) == 8
        assert kinds(filled)[-2:] == [EntryKind.UNSAFE_OPTION_USED, EntryKind.SPEND_RESERVED]
    assert kinds(filled)[-1] is EntryKind.SPEND_COMMITTED
    logged = [s.entry for s in filled.ledger.entries() if s.entry.resource == FLAG]
    assert [(entry.actor, entry.reason) for entry in logged] == [("ann", "a study of ours")]
    assert filled.ledger.account().epsilon() > 1.0


def test_a_failed_audit_is_paid_for_too(filled):
    with (
        pytest.raises(RuntimeError),
        consented(filled.root, event=EVENT, owner="ann", reason="why"),
    ):
        raise RuntimeError
    assert kinds(filled)[-1] is EntryKind.SPEND_COMMITTED


@pytest.mark.parametrize(("owner", "reason"), [("", "why"), ("ann", " ")])
def test_nobody_consents_silently(filled, owner, reason):
    with (
        pytest.raises(SettingsError, match="--as NAME"),
        consented(filled.root, event=EVENT, owner=owner, reason=reason),
    ):
        pass
    assert EntryKind.UNSAFE_OPTION_USED not in kinds(filled)


def test_what_does_not_fit_reads_nothing(filled):
    with (
        pytest.raises(BudgetExceededError),
        consented(
            filled.root,
            event=gaussian(noise_multiplier=0.1),
            clip_norm=1.0,
            owner="ann",
            reason="why",
        ),
    ):
        pytest.fail("the shard was read")
    assert EntryKind.SPEND_RESERVED not in kinds(filled)


def test_a_site_without_data_has_nothing_to_audit(site):
    with (
        pytest.raises(SettingsError, match="no data"),
        consented(site.root, event=EVENT, owner="ann", reason="why"),
    ):
        pass
