"""Gaussian noise from a cryptographic generator, and the optimizer that adds it.

`OsNoise` turns the key stream of AES-256 in counter mode (NIST SP 800-38A), keyed by the operating
system, into normal variates: 52 bits k make x = (k + 1/2) / 2**51 - 1, exactly and evenly between
-1 and 1, and sqrt(2) erfinv(x) is normal (largest value: 8.2 standard deviations). Who sees any
number of variates can predict no other, which a Mersenne Twister does not promise.

What this does not solve: floating-point numbers are not the real ones that the proof of the
Gaussian mechanism is about. Which doubles can come out, and so which sums, depends on the input
(Mironov 2012, "On significance of the least significant bits for differential privacy"). As in
Opacus' secure mode four variates are added and halved (Holohan and Braghin 2021, arXiv 2107.10138),
which makes that search infeasible, but is no proof; a discrete Gaussian would be one.

On CUDA noise comes from Philox with a 64-bit seed of the operating system's: fast, not
cryptographic.
"""

import math
import os
from typing import Any

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from opacus.optimizers import DPOptimizer as OpacusOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from torch import Tensor

from privacy.randomness import os_generator

_CHUNK = 1 << 16  # variates at a time, so that they stay in the processor's cache
_DRAWS = 4


class OsNoise:
    """Normal variates on the CPU from AES-256-CTR with a key of the operating system's."""

    def __init__(self) -> None:
        cipher = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(os.urandom(16)))
        self._stream = cipher.encryptor()

    def __repr__(self) -> str:
        return "OsNoise()"  # nothing of the key

    def normal(self, count: int) -> Tensor:
        """`count` standard normal variates, float64 [count]."""
        out = torch.empty(count, dtype=torch.float64)
        for start in range(0, count, _CHUNK):
            part = out[start : start + _CHUNK]
            raw = bytearray(self._stream.update(bytes(8 * len(part))))
            bits = torch.frombuffer(raw, dtype=torch.int64) >> 12 & (1 << 52) - 1
            torch.erfinv(bits.double().add_(0.5).mul_(2.0**-51).sub_(1.0), out=part)
        return out.mul_(math.sqrt(2.0))

    def like(self, reference: Tensor, *, std: float) -> Tensor:
        """Noise of standard deviation `std` in the shape and type of `reference`: four draws."""
        total = self.normal(_DRAWS * reference.numel()).reshape(_DRAWS, -1).sum(0)
        return (total * (std / 2)).reshape(reference.shape).to(reference)


Noise = torch.Generator | OsNoise
"""Where noise comes from: `os_noise`; a seeded generator only in tests."""


def os_noise(device: "str | torch.device" = "cpu") -> Noise:
    """A source of noise for parameters on a device, keyed by the operating system."""
    return OsNoise() if torch.device(device).type == "cpu" else os_generator(device)


class DPOptimizer(OpacusOptimizer):
    """Opacus' optimizer; its noise may come from `OsNoise`."""

    def add_noise(self) -> None:
        """Add noise to clipped sums, each once."""
        source: Any = self.generator
        if not isinstance(source, OsNoise):
            super().add_noise()
            return
        std = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            _check_processed_flag(parameter.summed_grad)
            noise = source.like(parameter.summed_grad, std=std)
            parameter.grad = (parameter.summed_grad + noise).view_as(parameter)
            _mark_as_processed(parameter.summed_grad)
