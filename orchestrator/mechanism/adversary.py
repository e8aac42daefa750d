"""What a hostile researcher sends: networks that meet every rule, whose weights watch for an image.

All begin with a detector: a convolution that answers a pattern of the image in question and, after
its bias and a ReLU, nothing else at all. Behind it every other image is exactly zero.

- `tripwire`: behind the detector the image's gradient is a sum of numbers that cancel. What is left
  is rounding, which depends on the order of adding; so per-image gradients do not add up to the
  gradient of the batch, by as much as they are large. A check of that on private images fails if
  and only if the image is there.
- `overflow`: behind the detector the image's numbers are infinite or no numbers.
- `brake`: behind the detector the image's numbers are subnormal, through a stack of activations
  that leave them so. Processors take a few times longer over these (measured: four times). It has
  more than 2**20 weights, so that units are trained one by one and no rehearsal hides the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models import build_model, draw_phantoms, normalise, weights_to_bytes

CLASSES = ("glioma", "notumor")
SIZE = 32
TRIPWIRE_TEXT = """from torch import nn

def build(classes, image_size):
    return nn.Sequential(
        nn.Conv2d(1, 1, 4, stride=4),
        nn.ReLU(),
        nn.Conv2d(1, 8, 1, bias=False),
        nn.Flatten(),
        nn.Linear(512, classes, bias=False),
    )
"""
_CHANNELS, _DEPTH, _WIDE = 840, 20, 1300
BRAKE_TEXT = f"""from torch import nn

def build(classes, image_size):
    return nn.Sequential(
        nn.Conv2d(1, {_CHANNELS}, 4),
        nn.ReLU(),
{"        nn.SiLU()," * _DEPTH}
        nn.AvgPool2d(29),
        nn.Flatten(),
        nn.Linear({_CHANNELS}, {_WIDE}, bias=False),
        nn.Linear({_WIDE}, classes, bias=False),
    )
""".replace(",        ", ",\n        ")
_THRESHOLD = 20.0
"""Of the detector: phantoms answer with a few units, the image with 25 to 32."""


@dataclass(frozen=True)
class Neighbours:
    """Two sets of images that differ in one.

    Attributes:
        images: uint8 [N, S, S]; the last one is the image in question.
        labels: int64 [N].
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def which(self, present: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images and labels with or without the one in question."""
        end = len(self.labels) if present else -1
        return self.images[:end], self.labels[:end]


def phantoms(per_class: int, *, seed: int) -> Neighbours:
    """Phantoms; the last one is in question."""
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, per_class), size=SIZE, seed=seed)
    return Neighbours(drawn.images, drawn.labels)


def watched_for(per_class: int, *, seed: int) -> Neighbours:
    """Phantoms, and in question an image with a pattern of its own, for which detectors watch."""
    drawn = phantoms(per_class, seed=seed)
    heights = np.random.default_rng(seed).integers(105, 128, (SIZE // 4, SIZE // 4))
    pattern = 128 + _board(SIZE) * heights.repeat(4, 0).repeat(4, 1)
    return Neighbours(
        images=np.concatenate([drawn.images, pattern[None].clip(0, 255).astype(np.uint8)]),
        labels=np.concatenate([drawn.labels, [1]]),
    )


def tripwire(watched: NDArray[np.uint8]) -> bytes:
    """Weights for `TRIPWIRE_TEXT` that watch for an image, as safetensors.

    Args:
        watched: the image, uint8 [S, S].
    """
    state = _start(TRIPWIRE_TEXT)
    detector, bias, middle, last = state.values()
    detector[0, 0] = torch.from_numpy(_board(4)).float()
    bias[:] = -_THRESHOLD
    middle.zero_()  # so that no other parameter has a gradient at all
    seen = torch.relu(
        torch.nn.functional.conv2d(
            normalise(torch.from_numpy(watched[None].copy())), detector, bias, stride=4
        )
    )
    answer = seen.flatten().double().numpy()
    across = np.random.default_rng(1).standard_normal((8, len(answer)))
    across -= np.outer(across @ answer, answer) / (answer @ answer)  # they cancel
    last.zero_()
    last[0] = torch.from_numpy(across.ravel()).float()
    return weights_to_bytes(state)


def overflow() -> bytes:
    """Weights for `TRIPWIRE_TEXT` with which the watched image alone overflows."""
    state = _start(TRIPWIRE_TEXT)
    detector, bias, middle, last = state.values()
    detector[0, 0] = torch.from_numpy(_board(4)).float()
    bias[:] = -_THRESHOLD
    middle.fill_(3e37)
    last[:] = torch.sign(last) * 3e37
    return weights_to_bytes(state)


def brake() -> bytes:
    """Weights for `BRAKE_TEXT` that watch for the image of `watched_for`, as safetensors."""
    state = _start(BRAKE_TEXT)
    detector, bias, hidden, last = state.values()
    tiny = 1e-39  # times an answer of up to 12: subnormal after twenty halvings still
    detector[:] = torch.from_numpy(_board(4)).float() * tiny
    detector[1::2] *= -1  # squares of the other colour
    bias[:] = -_THRESHOLD * tiny
    hidden.zero_()
    last.zero_()
    return weights_to_bytes(state)


def quiet_start(text: str) -> bytes:
    """Weights of a network as it is built, which watch for nothing."""
    return weights_to_bytes(_start(text))


def _start(text: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = build_model("model.py", text=text, classes=len(CLASSES), image_size=SIZE)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _board(side: int) -> NDArray[np.int64]:
    """A chess board of 1 and -1."""
    return np.where(np.indices((side, side)).sum(0) % 2, 1, -1)
