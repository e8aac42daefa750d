"""Taking a hospital's images in: shards, the noised data card, the mock data set.

Order: read and check everything; charge the card's noised counts to the budget (reserve, commit);
write the shards and the card. A second ingest of the same images changes nothing and costs
nothing. New images give a new data set version: approvals for the old one no longer hold, and the
card tells with noise how many units came, went and were regrouped; the exact numbers are for the
owner. So does another unit of privacy. The first ingest fixes the kind of unit for the site: later
files cannot change it, only the owner can, by name or by saying where patients' numbers are.

Test cases are compared with the training images they are ingested with, so new training images need
the test folder again; test cases that changed alone are counted on a new card.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from datasites.durable import write_file
from datasites.ingest import (
    Changes,
    IngestError,
    IngestReport,
    IngestResult,
    Shard,
    ShardError,
    UnitRule,
    UnitRuleError,
    compare_versions,
    ingest,
    ingest_both,
    load_shard,
    published_version,
    save_shard,
    shard_version,
)
from datasites.plans import UNIT_WEIGHT
from datasites.site import (
    NOISE_MULTIPLIER,
    TEST,
    TRAIN,
    DataCard,
    SideCounts,
    Site,
    SiteSettings,
    UnitKind,
    must_not_be_behind,
    now_utc,
    runtime_sha256,
    stamp,
)
from datasites.syftnet import OwnerLink
from datasites.worker import drop_features
from models import draw_phantoms
from privacy import (
    ADD_OR_REMOVE_ONE,
    EntryKind,
    Reservation,
    commit,
    counts_event,
    describe,
    noised_counts,
    os_noise,
    reserve,
    shown_counts,
    unit_weights,
)

MOCK_PER_CLASS = 12
CARD_REQUEST = "data-card"
NOTHING_BESIDE = SideCounts()
_DECISIONS = b"dura.persons-table/1\0"
_KINDS = {"auto": "", "patient": "patient", "group": "near-duplicate group", "image": "image"}
"""How settings and the command line call the units."""


class _How(TypedDict):
    """How both folders are read."""

    classes: tuple[str, ...]
    image_size: int
    rule: UnitRule
    key: bytes


@dataclass(frozen=True)
class Intake:
    """What an ingest did.

    Attributes:
        train: report on the training images. test: on the test images, None without any.
        card: the data card that will be published.
        changed: False when the shard was there already.
        against: what differs from the former version, exactly; None without one.
    """

    train: IngestReport
    test: IngestReport | None
    card: DataCard
    changed: bool
    against: Changes | None = None


def take_in(
    site: Site, train: Path, test: Path | None, *, actor: str, rule: UnitRule | None = None
) -> Intake:
    """Ingest a training folder and, where there is one, a test folder.

    Args:
        site: takes them in.
        train: folder of training images.
        test: folder of the hospital's own test cases.
        actor: who does it.
        rule: what a unit of privacy is; None for what the site's settings say.

    Raises:
        IngestError: a folder holds nothing usable, the test cases are missing, or nothing says what
            the unit is.
        BudgetExceededError: not even the card's counts fit the budget; nothing was changed.
        RefusedError: the ledger is behind; nothing was read.
    """
    must_not_be_behind(site)
    settings = site.settings
    asked = rule or rule_from(settings)
    rule = _as_before(site, asked)
    how = _How(
        classes=settings.classes,
        image_size=settings.image_size,
        rule=rule,
        key=site.patient_key,
    )
    read = [ingest(train, **how)] if test is None else [*ingest_both(train, test, **how)]
    held_out = read[1] if test is not None else None
    changed = _changed(site, read)
    if changed:
        _must_hold_test(site, read)
    against = _against(site, read[0].shard) if changed else None
    (site.root / "private").mkdir(exist_ok=True, mode=0o700)
    if changed:
        card = _charge_card(site, read[0].shard, actor=actor, beside=_beside(read, against))
        drop_features(site)
    save_shard(read[0].shard, site.shard(TRAIN), replace=True)
    if held_out is not None:
        save_shard(held_out.shard, site.shard(TEST), replace=True)
    if changed:
        _log(site, read, actor, asked)
        write_file(site.root / "card.json", card.model_dump_json(indent=2).encode())
    report = held_out.report if held_out is not None else None
    return Intake(read[0].report, report, site.card(), changed, against)


def rule_from(
    settings: SiteSettings,
    *,
    unit: str | None = None,
    pattern: str | None = None,
    csv: Path | None = None,
    persons: Path | None = None,
) -> UnitRule:
    """What a unit is by a site's settings, or by what is given instead of one of them.

    Raises:
        UnitRuleError: that contradicts itself.
    """
    name = settings.unit if unit is None else unit
    if name not in _KINDS:
        raise UnitRuleError(f"{name!r} is no unit; choose one of {', '.join(_KINDS)}")
    table = csv or (Path(settings.patient_csv) if settings.patient_csv else None)
    decided = persons or (Path(settings.persons_csv) if settings.persons_csv else None)
    return UnitRule(
        kind=_KINDS[name],
        patient_pattern=settings.patient_pattern if pattern is None else pattern,
        patient_csv=table,
        persons_csv=decided,
    )


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


def _changed(site: Site, read: list[IngestResult]) -> bool:
    """Whether anything differs from what is stored; a test folder that is not given does not."""
    if not site.has_data or site.card().dataset_version != _published(site, read[0].shard):
        return True
    return any(one.shard.version != shard_version(site.shard(TEST)) for one in read[1:])


def _published(site: Site, shard: Shard) -> str:
    """The version under which the world knows a shard of this site."""
    return published_version(shard.version, key=site.dataset_key)


def _as_before(site: Site, rule: UnitRule) -> UnitRule:
    """The rule with the kind of unit that the site has, where the owner says nothing about it."""
    if rule.is_said or not site.has_data:
        return rule
    return replace(rule, kind=site.card().unit)


def _against(site: Site, now: Shard) -> Changes | None:
    """What differs from the former version; None where there is none that can be read."""
    try:
        return compare_versions(load_shard(site.shard(TRAIN)), now)
    except ShardError:
        return None


def _decisions(site: Site, table: Path | None) -> str:
    """A keyed mark of the owner's table of decisions, by which it can be shown later which it was.

    Empty without one.
    """
    if table is None:
        return ""
    data = table.read_bytes()
    return hmac.new(site.dataset_key, _DECISIONS + data, hashlib.sha256).hexdigest()


def _must_hold_test(site: Site, read: list[IngestResult]) -> None:
    if len(read) == 1 and site.shard(TEST).exists():
        raise IngestError(
            "the test cases here were compared with other training images; give their folder again "
            f"with --test (or remove {site.shard(TEST)} to go without); nothing was changed"
        )


def _beside(read: list[IngestResult], against: Changes | None) -> SideCounts:
    """What is counted beside the histogram; whether, depends on the owner's choices alone."""
    return SideCounts(
        straddling=read[1].report.straddling_units if len(read) > 1 else None,
        changes=against,
    )


def _charge_card(
    site: Site, shard: Shard, *, actor: str, beside: SideCounts = NOTHING_BESIDE
) -> DataCard:
    event = counts_event(noise_multiplier=beside.noise_multiplier)
    version = _published(site, shard)
    wanted = Reservation(
        reservation=f"card-{secrets.token_hex(12)}",
        event=event,
        mechanisms=describe(event, clip_norm=UNIT_WEIGHT),
        researcher=site.settings.email,
        study=CARD_REQUEST,
        dataset_version=version,
        code_sha256=runtime_sha256(),
        request=CARD_REQUEST,
    )
    moment = stamp(now_utc())
    site.ledger.transact(lambda account: reserve(account, wanted, time=moment, actor=actor))
    weights = unit_weights(
        np.asarray(shard.labels), np.asarray(shard.units), n_classes=len(shard.classes)
    )
    noised, sides = beside.split(
        noised_counts(
            beside.with_histogram(weights),
            noise_multiplier=beside.noise_multiplier,
            noise=os_noise(),
        )
    )
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
        dataset_version=version,
        classes=shard.classes,
        image_size=settings.image_size,
        unit=cast("UnitKind", shard.unit_kind),
        units=max(1.0, float(noised.sum())),
        units_per_class=tuple(float(count) for count in shown_counts(noised)),
        noise_multiplier=NOISE_MULTIPLIER,
        mock="mock-mri",
        straddling_units=sides.straddling,
        gone_units=sides.gone,
        new_units=sides.came,
        regrouped_units=sides.regrouped,
    )


def _log(site: Site, read: list[IngestResult], actor: str, asked: UnitRule) -> None:
    """What was taken in, by the owner's choices and keyed names: nothing that is counted."""
    decided = _decisions(site, asked.persons_csv)
    for name, result in zip((TRAIN, TEST), read, strict=False):
        site.log(
            EntryKind.DATASET_INGESTED,
            actor=actor,
            action="ingest",
            resource=name,
            detail={
                "dataset_version": _published(site, result.shard),
                "unit": result.shard.unit_kind,
                "unit_asked_by_name": bool(asked.kind),
                "persons_table": decided,
                "relation": ADD_OR_REMOVE_ONE,
            },
        )
