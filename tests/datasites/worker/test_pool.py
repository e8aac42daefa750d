"""Drawing from others' generators: only the files that were released, of the plan's own make."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from datasites.plans import DeclaredOutput, PoolTask, Source
from datasites.worker import generate, pool
from datasites.worker.generators import open_generator
from models import (
    WeightsError,
    pack_generators,
    weights_from_bytes,
    weights_to_bytes,
)
from privacy import sha256_hex

OTHERS = ("b@hospital.example", "c@hospital.example")


def _adapted(plan, *, bias=0.0):
    generator = open_generator(plan.generator, classes=plan.classes)
    state = generator.adapted()
    state["conv_out.bias"] += bias
    return weights_to_bytes(state)


def _task(files, *, hashes=None):
    return PoolTask(
        request="p1",
        plan_sha256="a" * 64,
        weights_sha256="b" * 64,
        sources=tuple(
            Source(hospital=one, sha256=digest)
            for one, digest in zip(OTHERS, hashes or map(sha256_hex, files), strict=False)
        ),
    )


def _arrays(files, output, *names):
    return [np.load(io.BytesIO(output(files, name)), allow_pickle=False) for name in names]


def test_each_source_draws_its_own_images_and_no_shard_is_read(make_files, plan, output):
    released = [_adapted(plan), _adapted(plan, bias=50.0)]
    files = make_files(_task(released), inputs={"weights.safetensors": pack_generators(released)})
    (files._data / "train").rename(files._data / "gone")
    assert pool.run(files) == 0
    images, labels, sources = _arrays(
        files, output, "pooled_images.npy", "pooled_labels.npy", "pooled_sources.npy"
    )
    assert (images.dtype, images.shape) == (np.uint8, (8, 16, 16))
    assert labels.tolist() == [0, 0, 1, 1] * 2
    assert sources.tolist() == [0] * 4 + [1] * 4
    # Huge noise is predicted by the second one everywhere, so its images are black.
    assert images[4:].max() < images[:4].max()


def test_what_is_not_what_was_released_is_refused(make_files, plan):
    released = [_adapted(plan)]
    packed = {"weights.safetensors": pack_generators(released)}
    with pytest.raises(ValueError, match="not the file that was released"):
        pool.run(make_files(_task(released, hashes=["0" * 64]), inputs=packed))
    with pytest.raises(ValueError, match="1 generators came along, 2"):
        pool.run(make_files(_task(released * 2), inputs=packed))


def test_a_generator_of_another_make_is_refused(make_files, plan):
    wider = {"x": torch.zeros(3)}
    released = [weights_to_bytes(wider)]
    with pytest.raises(WeightsError, match="missing"):
        pool.run(
            make_files(_task(released), inputs={"weights.safetensors": pack_generators(released)})
        )


def test_other_tasks_and_plans_are_refused(make_files, plan, generate_task):
    with pytest.raises(TypeError, match="pool"):
        pool.run(make_files(generate_task))
    without = plan.model_copy(update={"generator": None})
    with pytest.raises(TypeError, match="pool"):
        pool.run(make_files(_task([_adapted(plan)]), plan=without))


def test_what_training_changed_is_left_only_where_the_plan_says_so(
    make_files, plan, generate_task, output
):
    declared = DeclaredOutput(name="generator.safetensors", kind="generator", max_bytes=4_000_000)
    pooling = plan.model_copy(update={"outputs": (*plan.outputs, declared)})
    assert pooling.pools
    assert not plan.pools
    files = make_files(generate_task, plan=pooling)
    generate.run(files)
    state = weights_from_bytes(output(files, "generator.safetensors"))
    like = open_generator(plan.generator, classes=plan.classes).adapted()
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in like.items()}


def test_images_of_others_are_mixed_in_beside_ones_own(make_files, train_task):
    def npy(array):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return buffer.getvalue()

    own = {
        "synthetic/synthetic_images.npy": npy(np.zeros((1, 4, 4), np.uint8)),
        "synthetic/synthetic_labels.npy": npy(np.array([0])),
    }
    others = {
        "synthetic/pooled_images.npy": npy(np.ones((2, 4, 4), np.uint8)),
        "synthetic/pooled_labels.npy": npy(np.array([1, 0])),
        "synthetic/pooled.json": json.dumps({"synthetic": True}).encode(),
    }
    assert make_files(train_task(), data=others).synthetic() is None
    images, labels = make_files(train_task(), data=own | others).synthetic()
    assert images.max(axis=(1, 2)).tolist() == [0, 1, 1]
    assert labels.tolist() == [0, 1, 0]


def test_warm_up_needs_no_files():
    pool.warm_up()
