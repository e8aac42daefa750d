from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.classifiers.prediction import predict
from models.images.pixels import normalise


def _images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16), np.uint8)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 3))


def test_probabilities_are_float64_and_sum_to_one() -> None:
    p = predict(_model(), _images(5))
    assert p.shape == (5, 3)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("kept", [[0], [6, 2], [5, 4, 3, 2, 1, 0]])
def test_what_is_said_of_an_image_does_not_depend_on_the_others(kept: list[int]) -> None:
    """To the last bit: a score counts for one patient, whoever else is in the test set."""
    whole = predict(_model(), _images(7))
    assert np.array_equal(predict(_model(), _images(7)[kept]), whole[kept])


class Picky(nn.Module):
    """Ends at one image."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.inner, self.at = _model(), at

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if float(images.sum()) == self.at:
            raise MemoryError("this image")
        return self.inner(images)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_image_that_raises_is_not_a_number_and_harms_nobody(
    threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    images, before = _images(5)[[0, 1, 2, 3, 4, 3]], torch.get_num_threads()
    at = float(normalise(torch.from_numpy(images[3:4])).sum())
    torch.set_num_threads(threads)
    try:
        found = predict(Picky(at), images)
    finally:
        torch.set_num_threads(before)
    assert np.isnan(found[[3, 5]]).all()
    assert caplog.messages == ["2 images cannot be computed; NaN stands"]
    kept = [0, 1, 2, 4]
    assert np.array_equal(found[kept], predict(_model(), images)[kept])


@pytest.mark.parametrize("count", [0, 2])
def test_what_is_wrong_with_the_model_raises_whatever_images_there_are(count: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(255, 3))
    with pytest.raises(RuntimeError):
        predict(model, _images(count))


def test_no_image_has_no_probabilities() -> None:
    assert predict(_model(), _images(0)).shape == (0, 3)


def test_dropout_is_off_and_images_are_normalised() -> None:
    model, images = _model(), _images(4)
    with torch.no_grad():
        x = normalise(torch.from_numpy(images)).flatten(1)
        wanted = torch.softmax(model[2](x).double(), dim=1)  # type: ignore[index]
    np.testing.assert_allclose(predict(model, images), wanted.numpy(), atol=1e-6)


def test_no_gradient_is_kept() -> None:
    model = _model()
    predict(model, _images(2))
    assert all(p.grad is None for p in model.parameters())


def test_threads_change_no_bit_and_are_as_many_as_before() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 3))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(predict(model, _images(9)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)
