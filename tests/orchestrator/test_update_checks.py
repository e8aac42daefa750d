"""What gets past `check_update`, and what does not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import errors
from orchestrator.aggregation.update_checks import (
    Update,
    as_array,
    check_update,
    differences,
    l2_norm,
)
from orchestrator.errors import OrchestratorError, StudyError, UpdateReason, UpdateRefusedError

RECEIPT = "0f" * 32


def global_weights() -> dict[str, torch.Tensor]:
    return {
        "conv.weight": torch.ones(2, 3),
        "head.bias": torch.zeros(4, dtype=torch.bfloat16),
        "steps": torch.tensor(7),
    }


def update(**changed: object) -> Update:
    good = Update(
        hospital="north",
        weights=global_weights(),
        units=120.5,
        epsilon=1.5,
        delta=1e-5,
        receipt_sha256=RECEIPT,
    )
    return replace(good, **changed)  # type: ignore[arg-type]


def weights(**changed: torch.Tensor | None) -> dict[str, torch.Tensor]:
    named = {name.replace("__", "."): tensor for name, tensor in changed.items()}
    return {n: t for n, t in (global_weights() | named).items() if t is not None}


def test_an_honest_update_passes() -> None:
    moved = weights(conv__weight=torch.full((2, 3), 1.5))
    check_update(update(weights=moved), global_weights=global_weights(), max_norm=1.3)


def test_numpy_and_torch_mix() -> None:
    as_numpy = {"w": np.ones(3, dtype=np.float32)}
    as_torch = {"w": torch.ones(3)}
    check_update(update(weights=as_numpy), global_weights=as_torch, max_norm=0.1)
    check_update(update(weights=as_torch), global_weights=as_numpy, max_norm=0.1)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"units": 0.0}, UpdateReason.UNITS_INVALID),
        ({"units": -3.0}, UpdateReason.UNITS_INVALID),
        ({"units": math.nan}, UpdateReason.UNITS_INVALID),
        ({"units": math.inf}, UpdateReason.UNITS_INVALID),
        ({"epsilon": math.nan}, UpdateReason.PRIVACY_INVALID),
        ({"epsilon": -0.1}, UpdateReason.PRIVACY_INVALID),
        ({"delta": 1.5}, UpdateReason.PRIVACY_INVALID),
        ({"delta": math.nan}, UpdateReason.PRIVACY_INVALID),
        ({"receipt_sha256": ""}, UpdateReason.RECEIPT_INVALID),
        ({"receipt_sha256": RECEIPT + "\n"}, UpdateReason.RECEIPT_INVALID),
        ({"weights": weights(head__bias=None)}, UpdateReason.NAMES_DIFFER),
        ({"weights": weights(extra=torch.ones(1))}, UpdateReason.NAMES_DIFFER),
        ({"weights": weights(conv__weight=torch.ones(3, 2))}, UpdateReason.SHAPE_DIFFERS),
        ({"weights": weights(conv__weight=torch.ones(6))}, UpdateReason.SHAPE_DIFFERS),
        ({"weights": weights(head__bias=torch.zeros(4))}, UpdateReason.DTYPE_DIFFERS),
        ({"weights": weights(steps=torch.tensor(8))}, UpdateReason.BUFFER_CHANGED),
        ({"weights": weights(conv__weight=torch.full((2, 3), math.nan))}, UpdateReason.NOT_FINITE),
        (
            {"weights": weights(conv__weight=torch.full((2, 3), -math.inf))},
            UpdateReason.NOT_FINITE,
        ),
        (
            {"weights": weights(conv__weight=torch.full((2, 3), 9.0))},
            UpdateReason.NORM_TOO_LARGE,
        ),
    ],
)
def test_what_is_refused(changed: dict[str, object], reason: UpdateReason) -> None:
    with pytest.raises(UpdateRefusedError) as caught:
        check_update(update(**changed), global_weights=global_weights(), max_norm=2.0)
    assert caught.value.reason_code is reason
    assert caught.value.hospital == "north"
    assert "north" in str(caught.value)


def test_infinite_epsilon_is_a_statement() -> None:
    check_update(update(epsilon=math.inf), global_weights=global_weights(), max_norm=None)


def test_the_norm_is_of_the_difference_over_all_tensors() -> None:
    origin = {"a": torch.full((2,), 100.0), "b": torch.zeros(1)}
    moved = {"a": torch.tensor([103.0, 100.0]), "b": torch.tensor([4.0])}
    assert l2_norm(moved, origin) == pytest.approx(5.0)
    check_update(update(weights=moved), global_weights=origin, max_norm=5.0)
    with pytest.raises(UpdateRefusedError, match="5 "):
        check_update(update(weights=moved), global_weights=origin, max_norm=4.999)


def test_a_norm_that_overflows_is_refused_and_never_nan() -> None:
    origin = {"w": torch.zeros(2, dtype=torch.float64)}
    huge = {"w": torch.full((2,), 1e200, dtype=torch.float64)}
    assert l2_norm(huge, origin) == pytest.approx(math.sqrt(2) * 1e200)
    with pytest.raises(UpdateRefusedError):
        check_update(update(weights=huge), global_weights=origin, max_norm=1e9)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_bound_is_refused(bound: float) -> None:
    with pytest.raises(StudyError, match="max_norm"):
        check_update(update(), global_weights=global_weights(), max_norm=bound)


def test_hostile_names_are_quoted_cut_and_counted() -> None:
    extra = {f"\x1b[31m{i}" + "x" * 500: torch.ones(1) for i in range(9)}
    with pytest.raises(UpdateRefusedError) as caught:
        check_update(
            update(weights=global_weights() | extra),
            global_weights=global_weights(),
            max_norm=None,
        )
    message = str(caught.value)
    assert "\x1b" not in message
    assert len(message) < 500
    assert "and 6 more" in message


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_the_norm_is_numpys(values: list[float]) -> None:
    moved = {"w": np.array(values, dtype=np.float32)}
    origin = {"w": np.zeros(len(values), dtype=np.float32)}
    expected = float(np.linalg.norm(np.array(values, dtype=np.float64)))
    assert l2_norm(moved, origin) == pytest.approx(expected, rel=1e-12)


def test_differences_leave_out_what_is_not_learned() -> None:
    names = [name for name, _ in differences(global_weights(), global_weights())]
    assert names == ["conv.weight", "head.bias"]
    assert as_array(np.ones(2, dtype=np.float32)).dtype == np.float64
    assert as_array(torch.tensor([1.5], dtype=torch.bfloat16)).dtype == np.float64


def every_error(root: type[OrchestratorError]) -> set[type[OrchestratorError]]:
    below = {error for child in root.__subclasses__() for error in every_error(child)}
    return {root} | below


def test_every_error_is_drawn_and_has_a_documented_exit_code() -> None:
    for error in every_error(OrchestratorError):
        assert error.__name__ in (errors.__doc__ or "")
        assert error.__name__.endswith("Error")
        assert error.exit_code in {2, 3, 4, 5, 6, 130}


def test_a_hospitals_refusal_carries_its_code() -> None:
    error = errors.HospitalRefusedError("north", "budget_exceeded", "the budget is used up")
    assert error.exit_code == 3
    assert str(error) == "north: the budget is used up [budget_exceeded]"
