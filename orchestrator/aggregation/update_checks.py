"""What a hospital's update must be before it may touch the global model. Pure.

The researcher trusts no single hospital: an update may be broken (NaN after a bad step), stale
(another model's shapes) or poisoned (a huge jump). `check_update` looks at one update alone, so
that one bad hospital costs the round one update and never the model. It refuses, in this order
and with a coded reason each:

1. `units` that are not a positive finite number (they are the weight in an average), an epsilon
   that is NaN or negative, a delta outside [0, 1], a receipt that is not a SHA-256 in hex;
2. tensor names, shapes or dtypes that are not exactly those of the global weights;
3. integer or boolean tensors that differ from the global ones: they are not learned, and an
   average of them means nothing;
4. values that are NaN or infinite;
5. a difference to the global weights whose L2 norm over all floating tensors, taken in float64,
   exceeds `max_norm`. A bound on the difference is what limits how far one hospital can move an
   average (Sun et al. 2019, "Can You Really Backdoor Federated Learning?", norm thresholding).

The checks cannot tell a well-made poison inside the norm from an honest update: that is what the
robust strategies are for. Tensors may be numpy arrays or torch tensors; torch is never imported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import StudyError, UpdateReason, UpdateRefusedError

if TYPE_CHECKING:
    import torch

Tensorlike: TypeAlias = "NDArray[Any] | torch.Tensor"
Weights: TypeAlias = Mapping[str, Tensorlike]

UNKNOWN_UNIT = "privacy unit"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Update:
    """What one hospital sends back from one round.

    Attributes:
        hospital: the hospital's name in the study.
        weights: its locally trained weights, by tensor name; the same keys as the global ones.
        units: privacy units behind it (patients or near-duplicate groups), as the **noised** count
            that the hospital published; the weight of this update in weighted strategies.
        epsilon: the hospital's own total for the study up to and including this round, at its
            unit of privacy. Not this round's share: epsilons of rounds do not add up.
        delta: the delta that goes with it.
        receipt_sha256: SHA-256 (hex) of the hospital's signed receipt for these weights.
        wall_s: wall-clock seconds the hospital took, as seen by the orchestrator.
        unit: the unit of privacy that the receipt names, in words.
    """

    hospital: str
    weights: Weights
    units: float
    epsilon: float
    delta: float
    receipt_sha256: str
    wall_s: float = 0.0
    unit: str = UNKNOWN_UNIT


def check_update(update: Update, *, global_weights: Weights, max_norm: float | None) -> None:
    """Let an update through, or say why not.

    Args:
        update: what came back from a hospital.
        global_weights: what was sent to it in this round.
        max_norm: the largest L2 norm of the difference that is let through; None for no bound.

    Raises:
        UpdateRefusedError: the update breaks a rule; `reason_code` says which.
        StudyError: `max_norm` is not a positive finite number.
    """
    if max_norm is not None and not (math.isfinite(max_norm) and max_norm > 0):
        raise StudyError(f"max_norm is {max_norm}; give a positive finite number, or leave it out")
    _check_claims(update)
    _check_names(update, global_weights)
    for name, reference in global_weights.items():
        _check_tensor(update, name, reference)
    if max_norm is not None:
        norm = l2_norm(update.weights, global_weights)
        if norm > max_norm:
            message = (
                f"it moved the weights by {norm:.6g} (L2), more than the {max_norm:.6g} allowed"
            )
            raise UpdateRefusedError(update.hospital, UpdateReason.NORM_TOO_LARGE, message)


def is_learned(tensor: Tensorlike) -> bool:
    """Whether a tensor is of a floating dtype, so that averages and norms of it mean something."""
    return "float" in dtype_name(tensor)


def dtype_name(tensor: Tensorlike) -> str:
    """The dtype's name without the library's prefix, such as `float32` or `int64`."""
    return str(tensor.dtype).removeprefix("torch.")


def as_array(tensor: Tensorlike) -> NDArray[Any]:
    """A tensor as a numpy array: floating ones in float64 (exact), all others as they are."""
    if isinstance(tensor, np.ndarray):
        return tensor.astype(np.float64) if is_learned(tensor) else tensor
    detached = tensor.detach().cpu()
    # Through torch's own float64, because numpy knows no bfloat16.
    array: NDArray[Any] = (detached.double() if is_learned(tensor) else detached).numpy()
    return array


def differences(weights: Weights, origin: Weights) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """What training changed: `weights - origin` in float64, tensor by tensor.

    Args:
        weights: tensors with the names and shapes of `origin`.
        origin: where training started; its order is the order of the result.

    Yields:
        The name and the difference of each floating tensor.
    """
    for name, start in origin.items():
        if is_learned(start):
            yield name, as_array(weights[name]) - as_array(start)


def l2_norm(weights: Weights, origin: Weights) -> float:
    """L2 norm of `weights - origin` over all floating tensors together, in float64."""
    # hypot over the tensors' norms: a huge but finite tensor gives a huge norm, never NaN.
    return math.hypot(*(tensor_norm(change) for _, change in differences(weights, origin)))


def tensor_norm(change: NDArray[np.float64]) -> float:
    """L2 norm of one tensor, scaled by its largest entry so that its squares cannot overflow."""
    largest = float(np.max(np.abs(change), initial=0.0))
    if largest == 0.0 or math.isinf(largest):
        return largest
    # No BLAS: its threads cost more than they give here, and its order of summing may vary.
    return largest * math.sqrt(float(np.square(change / largest).sum()))


def _check_claims(update: Update) -> None:
    """Check the numbers that come with the weights."""
    if not (math.isfinite(update.units) and update.units > 0):
        message = f"units are {update.units}; expected a positive finite number"
        raise UpdateRefusedError(update.hospital, UpdateReason.UNITS_INVALID, message)
    if math.isnan(update.epsilon) or update.epsilon < 0 or not 0 <= update.delta <= 1:
        message = f"epsilon {update.epsilon} with delta {update.delta} is no privacy statement"
        raise UpdateRefusedError(update.hospital, UpdateReason.PRIVACY_INVALID, message)
    if _SHA256.fullmatch(update.receipt_sha256) is None:
        message = "it comes without the SHA-256 of a receipt (64 hex digits)"
        raise UpdateRefusedError(update.hospital, UpdateReason.RECEIPT_INVALID, message)


def _check_names(update: Update, global_weights: Weights) -> None:
    """Check that exactly the global tensors are there."""
    sent, expected = set(update.weights), set(global_weights)
    if sent != expected:
        message = (
            f"tensors missing: {_some(expected - sent)}; not asked for: {_some(sent - expected)}"
        )
        raise UpdateRefusedError(update.hospital, UpdateReason.NAMES_DIFFER, message)


def _check_tensor(update: Update, name: str, reference: Tensorlike) -> None:
    """Check shape, dtype and values of one tensor against the global one."""
    tensor = update.weights[name]
    shape, expected = tuple(tensor.shape), tuple(reference.shape)
    if shape != expected:
        message = f"{name!r} has shape {shape}, the study's model {expected}"
        raise UpdateRefusedError(update.hospital, UpdateReason.SHAPE_DIFFERS, message)
    if dtype_name(tensor) != dtype_name(reference):
        message = f"{name!r} is {dtype_name(tensor)}, the study's model has {dtype_name(reference)}"
        raise UpdateRefusedError(update.hospital, UpdateReason.DTYPE_DIFFERS, message)
    values = as_array(tensor)
    if not is_learned(reference):
        if not np.array_equal(values, as_array(reference)):
            message = f"{name!r} is not learned ({dtype_name(tensor)}) and yet was changed"
            raise UpdateRefusedError(update.hospital, UpdateReason.BUFFER_CHANGED, message)
        return
    broken = int(np.count_nonzero(~np.isfinite(values)))
    if broken:
        message = f"{name!r} has {broken} of {values.size} values that are NaN or infinite"
        raise UpdateRefusedError(update.hospital, UpdateReason.NOT_FINITE, message)


def _some(names: set[str]) -> str:
    """A few names for a message: they come from outside, so quoted, cut and counted."""
    if not names:
        return "none"
    shown = ", ".join(repr(name[:60]) for name in sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
