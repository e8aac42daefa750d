"""Features that a job leaves for the next one: kept while their shard is there, and never sent."""

from __future__ import annotations

import io

import numpy as np
import pytest

from datasites.errors import OutputError
from datasites.worker.feature_cache import drop_features, features_folder, keep_features, read_array


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def test_features_are_checked_and_stay_until_the_shard_goes(by_hand):
    world = by_hand.world
    by_hand.begin(world.task())
    by_hand.result(1)
    by_hand.write(weights__safetensors=world.weights)
    for wrong in (b"no array", _npy(np.zeros((2, 3))), _npy(np.zeros(3, np.float32))):
        by_hand.own(features__npy=wrong)
        # The next round only works longer.
        assert by_hand.agent._completion.collect(by_hand.job, by_hand.folder)
    assert not list(world.site.features.glob("*/*"))
    not_finite = np.array([[1, 1, 1], [1, np.nan, 1]], np.float32)  # of an image that counts zero
    by_hand.own(features__npy=_npy(not_finite))
    answer = by_hand.finish()
    assert len(list(world.site.features.glob("*/features.npy"))) == 1
    assert "features" not in answer.receipt
    stale = world.site.features / "of-another-version"
    stale.mkdir()
    assert features_folder(world.site).is_dir()
    assert not stale.exists()
    for encoder in ("a" * 64, "b" * 64, "b" * 64):
        version = world.site.card().dataset_version
        keep_features(
            world.site, by_hand.folder.outputs, dataset_version=version, encoder_sha256=encoder
        )
    names = {path.name for path in features_folder(world.site).iterdir()}
    assert names == {"features.npy", f"features-{'b' * 64}.npy"}
    drop_features(world.site)
    assert not world.site.features.exists()


def test_features_of_images_that_were_replaced_meanwhile_are_not_kept(by_hand):
    """The job saw the former shard; under the new one's name they would stand for other images."""
    world = by_hand.world
    by_hand.begin(world.task())
    by_hand.result(1)
    by_hand.write(
        weights__safetensors=world.weights, features__npy=_npy(np.ones((16, 3), np.float32))
    )
    card = world.site.card().model_copy(update={"dataset_version": "e" * 64})
    (world.site.root / "card.json").write_text(card.model_dump_json())
    by_hand.finish()
    assert not list(world.site.features.glob("*/*"))


@pytest.mark.parametrize(
    "head",
    [
        "(" * 3000,
        "{'descr': '<f4'",
        "-" * 9000 + "1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1" + "0" * 24 + ",), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 9), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    ],
    ids=lambda head: head[:12] + head[-12:],
)
def test_no_head_of_an_array_ends_the_agent(by_hand, head):
    """What ended it would depend on the images, and be told by a job that failed."""
    text = head.encode() + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 4
    with pytest.raises(OutputError, match=r"is not an array|declared"):
        read_array(data, "features.npy", dtype=np.float32)
    world = by_hand.world
    by_hand.begin(world.task())
    by_hand.result(1)
    by_hand.write(weights__safetensors=world.weights)
    by_hand.own(features__npy=data)
    assert by_hand.agent._completion.collect(by_hand.job, by_hand.folder)
    assert not list(world.site.features.glob("*/*"))
