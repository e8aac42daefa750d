"""Taking a hospital's images in: shards, the noised data card, the mock data set.

Order: read and check everything; charge the card's noised counts to the budget (reserve, commit);
write the shards and the card. A second ingest of the same images changes nothing and costs
nothing. New images give a new data set version: approvals for the old one no longer hold.
"""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasites.card import NOISE_MULTIPLIER, DataCard
from datasites.ingest import IngestReport, IngestResult, Shard, ingest, save_shard
from datasites.plans.costs import UNIT_WEIGHT
from datasites.runtime import runtime_sha256
from datasites.site import TEST, TRAIN, Site, now_utc, stamp, write_file
from datasites.syftnet import OwnerLink
from models import draw_phantoms
from privacy import (
    EntryKind,
    Reservation,
    commit,
    counts_event,
    describe,
    noised_counts,
    os_rng,
    reserve,
    shown_counts,
    unit_counts,
)

MOCK_PER_CLASS = 12
CARD_REQUEST = "data-card"


@dataclass(frozen=True)
class Intake:
    """What an ingest did.

    Attributes:
        train: report on the training images. test: on the test images, None without any.
        card: the data card that will be published.
        changed: False when the shard was there already.
    """

    train: IngestReport
    test: IngestReport | None
    card: DataCard
    changed: bool


def take_in(site: Site, train: Path, test: Path | None, *, actor: str) -> Intake:
    """Ingest a training folder and, where there is one, a test folder.

    Raises:
        IngestError: a folder holds nothing usable.
        BudgetExceededError: not even the card's counts fit the budget; nothing was changed.
    """
    settings = site.settings
    read = [
        ingest(folder, classes=settings.classes, image_size=settings.image_size)
        for folder in (train, test)
        if folder is not None
    ]
    held_out = read[1] if test is not None else None
    version = read[0].shard.version
    changed = not site.has_data or site.card().dataset_version != version
    (site.root / "private").mkdir(exist_ok=True, mode=0o700)
    if changed:
        card = _charge_card(site, read[0].shard, actor=actor)
    save_shard(read[0].shard, site.shard(TRAIN), replace=True)
    if held_out is not None:
        save_shard(held_out.shard, site.shard(TEST), replace=True)
    if changed:
        _log(site, read, actor)
        write_file(site.root / "card.json", card.model_dump_json(indent=2).encode())
    report = held_out.report if held_out is not None else None
    return Intake(read[0].report, report, site.card(), changed)


def publish_mock(site: Site, link: OwnerLink) -> None:
    """Draw the mock data set (phantoms, no patient data) and publish it."""
    settings = site.settings
    counts = dict.fromkeys(settings.classes, MOCK_PER_CLASS)
    mock = draw_phantoms(counts=counts, size=settings.image_size, seed=secrets.randbits(32))
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "mock_images.npy", mock.images, allow_pickle=False)
        np.save(Path(folder) / "mock_labels.npy", mock.labels, allow_pickle=False)
        link.publish_mock(
            name=site.card().mock,
            folder=Path(folder),
            summary="Synthetic phantoms with the shard's shape and classes; no patient data.",
        )


def _charge_card(site: Site, shard: Shard, *, actor: str) -> DataCard:
    event = counts_event(noise_multiplier=NOISE_MULTIPLIER)
    wanted = Reservation(
        reservation=f"card-{shard.version[:16]}-{secrets.token_hex(4)}",
        event=event,
        mechanisms=describe(event, clip_norm=UNIT_WEIGHT),
        researcher=site.settings.email,
        study=CARD_REQUEST,
        dataset_version=shard.version,
        code_sha256=runtime_sha256(),
        request=CARD_REQUEST,
    )
    moment = stamp(now_utc())
    site.ledger.transact(lambda account: reserve(account, wanted, time=moment, actor=actor))
    exact = unit_counts(
        np.asarray(shard.labels), np.asarray(shard.units), n_classes=len(shard.classes)
    )
    noised = noised_counts(exact, noise_multiplier=NOISE_MULTIPLIER, rng=os_rng())
    site.ledger.transact(
        lambda account: commit(
            account,
            reservation=wanted.reservation,
            event=event,
            time=stamp(now_utc()),
            actor=actor,
        )
    )
    settings = site.settings
    return DataCard(
        site=settings.name,
        email=settings.email,
        public_key=site.key.public_hex,
        dataset_version=shard.version,
        classes=shard.classes,
        image_size=settings.image_size,
        unit=shard.unit_kind,
        units=max(1.0, float(noised.sum())),
        units_per_class=tuple(float(count) for count in shown_counts(noised)),
        noise_multiplier=NOISE_MULTIPLIER,
        mock="mock-mri",
    )


def _log(site: Site, read: list[IngestResult], actor: str) -> None:
    for name, result in zip((TRAIN, TEST), read, strict=False):
        site.log(
            EntryKind.DATASET_INGESTED,
            actor=actor,
            action="ingest",
            resource=name,
            detail={"dataset_version": result.shard.version, "unit": result.shard.unit_kind},
        )
