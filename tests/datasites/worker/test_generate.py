"""The generator's job: the declared arrays and nothing else are left; other jobs are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest

from datasites.worker import generate


def test_the_declared_arrays_are_left(make_files, generate_task, output):
    files = make_files(generate_task)
    assert generate.run(files) == 1
    images = np.load(io.BytesIO(output(files, "synthetic_images.npy")), allow_pickle=False)
    labels = np.load(io.BytesIO(output(files, "synthetic_labels.npy")), allow_pickle=False)
    assert (images.dtype, images.shape) == (np.uint8, (4, 16, 16))
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 0, 1, 1]
    assert {path.name for path in files._outputs.iterdir()} == {
        "synthetic_images.npy",
        "synthetic_labels.npy",
    }


def test_a_plan_without_a_generator_is_refused(make_files, generate_task, plan):
    without = plan.model_copy(update={"generator": None})
    with pytest.raises(TypeError, match="generator"):
        generate.run(make_files(generate_task, plan=without))


def test_a_task_of_another_kind_is_refused(make_files, train_task):
    with pytest.raises(TypeError, match="generate"):
        generate.run(make_files(train_task()))


def test_warm_up_needs_no_files():
    generate.warm_up()
