"""The published version of a data set says nothing about the data, and still names it.

The attack is real: who knows a data set but for one label tries which label gives the hash. It
finds the label in the hash that shards have on disk, and nothing in what is published.
"""

from __future__ import annotations

import stat
from functools import partial

import numpy as np
import pytest

from datasites.ingest import make_shard, published_version
from datasites.ingest.shard import version_of
from datasites.owner.intake import take_in
from datasites.site.site import Site
from models import draw_phantoms

KEY, OTHER = b"k" * 32, b"o" * 32
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def shard():
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 2), size=32, seed=4)
    return make_shard(
        images=drawn.images,
        labels=drawn.labels,
        units=np.arange(8),
        classes=CLASSES,
        rules="phantoms",
    )


def _labels_that_fit(shard, index, published, name_of):
    """Which labels of one image lead to the published name, everything else being known."""
    found = []
    for label in range(len(shard.classes)):
        labels = np.array(shard.labels)
        labels[index] = label
        tried = version_of(
            images=shard.images,
            labels=labels,
            units=shard.units,
            classes=shard.classes,
            unit_kind=shard.unit_kind,
            rules=shard.rules,
        )
        if name_of(tried) == published:
            found.append(label)
    return found


@pytest.mark.parametrize("index", range(8))
def test_a_label_is_recovered_from_the_private_hash_and_not_from_the_published_one(shard, index):
    truth = [int(shard.labels[index])]
    published = published_version(shard.version, key=KEY)
    assert _labels_that_fit(shard, index, shard.version, str) == truth
    assert _labels_that_fit(shard, index, published, str) == []
    # Nor with any key but the hospital's.
    for guess in (OTHER, bytes(32), b"\xff" * 32, KEY[::-1] + b"1"):
        keyed = partial(published_version, key=guess)
        assert _labels_that_fit(shard, index, published, keyed) == []


def test_the_same_data_has_one_name_under_one_key_and_another_under_another(shard):
    assert published_version(shard.version, key=KEY) == published_version(shard.version, key=KEY)
    assert published_version(shard.version, key=KEY) != published_version(shard.version, key=OTHER)
    again = make_shard(
        images=shard.images,
        labels=shard.labels[::-1].copy(),
        units=shard.units,
        classes=shard.classes,
        rules=shard.rules,
    )
    assert published_version(again.version, key=KEY) != published_version(shard.version, key=KEY)


@pytest.mark.parametrize("key", [b"", b"short", b"k" * 31])
def test_a_key_that_can_be_guessed_is_refused(shard, key):
    with pytest.raises(ValueError, match="give 32 or more"):
        published_version(shard.version, key=key)


def test_no_private_hash_is_published_and_the_key_stays_in_its_place(site, folder_of_phantoms):
    train, test = folder_of_phantoms
    intake = take_in(site, train, test, actor="ann")
    private = [path.read_text() for path in site.root.glob("private/*/shard.json")]
    hashes = [intake.train.version, intake.test.version]
    assert all(any(one in text for text in private) for one in hashes)
    elsewhere = [
        path.read_bytes()
        for path in site.root.rglob("*")
        if path.is_file() and site.root / "private" not in path.parents
    ]
    assert not [one for one in hashes if any(one[:12].encode() in data for data in elsewhere)]
    path = site.keys / "dataset.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"".join(elsewhere).count(path.read_bytes()) == 1
    assert site.card().dataset_version == site.published_version()
    said = intake.train.to_text() + intake.test.to_text()
    assert not [one for one in hashes if one[:12] in said]


def test_a_site_that_lost_its_key_must_ingest_again(site, folder_of_phantoms):
    train, _ = folder_of_phantoms
    take_in(site, train, None, actor="ann")
    version = site.card().dataset_version
    (site.keys / "dataset.key").unlink()
    opened = Site.open(site.root)
    assert opened.published_version() != version
    again = take_in(opened, train, None, actor="ann")
    assert again.changed
    assert opened.card().dataset_version == opened.published_version() != version
