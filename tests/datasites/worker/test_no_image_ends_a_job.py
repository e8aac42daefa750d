"""An image that ends its own computation is to a training job as if it were not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasites.ingest import make_shard, save_shard
from datasites.plans import ModelPart
from datasites.worker import train
from models import EncoderHead, initial_weights, normalise, weights_to_bytes
from privacy import UnsafeNoNoise


@pytest.mark.parametrize("name", ["encoder_head", "small_cnn"])
def test_an_image_that_ends_its_computation_is_as_if_it_were_not_there(
    make_files, output, train_task, plan, shard, monkeypatch, name
):
    """To the last bit of the update: a failure is the zero contribution of its own unit."""
    chosen = normalise(torch.from_numpy(np.array(shard.images[5]))[None])
    part = plan.train.model_copy(update={"sampling_rate": 1.0, "augment": None})
    model = ModelPart(name=name, image_size=32)
    plan = plan.model_copy(update={"train": part, "model": model})
    start = weights_to_bytes(initial_weights(name, text=None, classes=2, image_size=32, seed=0))
    monkeypatch.setattr(train, "os_noise", UnsafeNoNoise)
    features = EncoderHead.features

    def ends(images: torch.Tensor) -> torch.Tensor:
        if any(torch.equal(image, chosen[0]) for image in images):
            raise MemoryError("this image")
        return images

    monkeypatch.setattr(EncoderHead, "features", lambda head, images: features(head, ends(images)))
    monkeypatch.setattr(train, "_augmentation", lambda _plan: ends)
    others = shard.units != shard.units[5]
    without = make_shard(
        images=shard.images[others],
        labels=shard.labels[others],
        units=np.unique(shard.units[others], return_inverse=True)[1],
        classes=shard.classes,
        rules="without it",
    )
    found = []
    for each in (shard, without):
        files = make_files(
            train_task(steps=2),
            plan=plan,
            inputs={"weights.safetensors": start},
            shard_sha256=each.version,
        )
        save_shard(each, files._data / "train", replace=True)
        assert train.run(files) == 2
        found.append(output(files, "weights.safetensors"))
    assert found[0] == found[1] != start
