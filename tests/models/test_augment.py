from __future__ import annotations

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from models.errors import AugmentError
from models.images.augment import _BatchAffine, build_augment
from models.images.augment_settings import AugmentSettings
from models.images.pixels import BLACK

EVERYTHING = AugmentSettings(
    horizontal_flip=True, shift=0.1, rotate_deg=15, scale=0.1, brightness=0.2
)


def _images(count: int = 8, size: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 4 - 1


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_generator_gives_the_same_images_and_the_next_call_others() -> None:
    x = _images()
    augment = build_augment(EVERYTHING, generator=_generator())
    first, second = augment(x), augment(x)
    assert torch.equal(first, build_augment(EVERYTHING, generator=_generator())(x))
    assert not torch.equal(first, second)


def test_torchs_global_generator_is_neither_read_nor_moved() -> None:
    x = _images()
    torch.manual_seed(1)
    untouched = torch.rand(3)
    torch.manual_seed(1)
    first = build_augment(EVERYTHING, generator=_generator())(x)
    assert torch.equal(torch.rand(3), untouched)
    torch.manual_seed(2)
    assert torch.equal(first, build_augment(EVERYTHING, generator=_generator())(x))


@pytest.mark.parametrize(
    "settings_",
    [
        AugmentSettings(horizontal_flip=True),
        AugmentSettings(shift=0.2),
        AugmentSettings(rotate_deg=30),
        AugmentSettings(scale=0.3),
        AugmentSettings(brightness=0.5),
    ],
    ids=str,
)
def test_every_image_of_a_batch_gets_a_draw_of_its_own(settings_: AugmentSettings) -> None:
    x = _images(1).expand(12, 1, 16, 16)
    out = build_augment(settings_, generator=_generator())(x)
    assert len({tuple(image.flatten().tolist()) for image in out}) > 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 3))
def test_an_output_row_depends_on_its_own_input_row_only(seed: int, row: int) -> None:
    x = _images(4)
    changed = x.clone()
    changed[row] = 0.5
    one = build_augment(EVERYTHING, generator=_generator(seed))(x)
    two = build_augment(EVERYTHING, generator=_generator(seed))(changed)
    others = [i for i in range(4) if i != row]
    assert torch.equal(one[others], two[others])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.4), st.floats(0, 90), st.floats(0, 0.4))
def test_the_batched_affine_agrees_with_torchvision_image_by_image(
    seed: int, shift: float, rotate: float, scale: float
) -> None:
    x, size = _images(3, 20, seed), 20
    transform = _BatchAffine(
        AugmentSettings(shift=shift, rotate_deg=rotate, scale=scale), _generator(seed)
    )
    params = transform.make_params([x])
    out = transform.transform(x, params)
    for i in range(3):
        wanted = v2.functional.affine(
            x[i] - BLACK,
            angle=math.degrees(params["angle"][i]),
            translate=[float(params["dx"][i] * size), float(params["dy"][i] * size)],
            scale=float(params["scale"][i]),
            shear=[0.0, 0.0],
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        assert torch.allclose(out[i], wanted + BLACK, atol=2e-4)


def test_a_shift_brings_in_black_and_moves_by_what_was_drawn() -> None:
    x = torch.full((64, 1, 16, 16), 1.0)
    out = build_augment(AugmentSettings(shift=0.5), generator=_generator())(x)
    assert out.min() == BLACK
    assert out.max() == 1.0


def test_draws_reach_but_never_pass_their_limits() -> None:
    transform = _BatchAffine(AugmentSettings(shift=0.1, rotate_deg=10, scale=0.2), _generator())
    params = transform.make_params([_images(4000, 2)])
    limits = {"angle": math.radians(10), "dx": 0.1, "dy": 0.1}
    for name, most in limits.items():
        assert 0.95 * most < params[name].abs().max() <= most + 1e-6
    assert 0.8 - 1e-6 <= params["scale"].min() < 0.82
    assert 1.18 < params["scale"].max() <= 1.2 + 1e-6


def test_brightness_scales_about_black_and_flip_is_a_mirror() -> None:
    x = _images()
    bright = build_augment(AugmentSettings(brightness=0.5), generator=_generator())(x)
    factor = (bright - BLACK) / (x - BLACK)
    assert torch.allclose(factor, factor[:, :, :1, :1].expand_as(factor), atol=1e-4)
    assert factor.min() >= 0.5 - 1e-4
    assert factor.max() <= 1.5 + 1e-4
    flipped = build_augment(AugmentSettings(horizontal_flip=True), generator=_generator())(x)
    kinds = [
        torch.equal(f, i) or torch.equal(f, i.flip(-1)) for f, i in zip(flipped, x, strict=True)
    ]
    assert all(kinds)


def test_no_augmentation_returns_an_equal_copy_and_keeps_the_input() -> None:
    x = _images()
    out = build_augment(AugmentSettings(), generator=_generator())(x)
    assert torch.equal(out, x)
    out += 1
    assert torch.equal(x, _images())
    build_augment(EVERYTHING, generator=_generator())(x)
    assert torch.equal(x, _images())


def test_an_empty_batch_stays_empty() -> None:
    assert build_augment(EVERYTHING, generator=_generator())(_images(0)).shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 16, 16), torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)],
)
def test_other_tensors_are_refused(images: Tensor) -> None:
    with pytest.raises(AugmentError, match=r"floats \[B, 1, S, S\]"):
        build_augment(EVERYTHING, generator=_generator())(images)


def test_a_batch_takes_little_time() -> None:
    augment, x = build_augment(EVERYTHING, generator=_generator()), _images(64, 64)
    augment(x)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        augment(x)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1  # 5 ms alone on a core; room for a busy machine
