"""Noise from a cryptographic generator: its distribution, its independence, and that it is used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import kstest, norm
from torch import nn

from privacy import noise as noise_module
from privacy.dpsgd import DpSgdSettings, train_dp
from privacy.noise import OsNoise, os_noise


@pytest.fixture
def fixed_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_module.os, "urandom", lambda size: bytes(range(size)))


def test_it_is_normal_in_its_body_and_its_tails() -> None:
    found = OsNoise().normal(400_000).numpy()
    assert kstest(found, "norm").pvalue > 1e-6
    for edge in (2.0, 3.0, 4.0):
        expected = 2 * norm.sf(edge) * len(found)
        assert abs((np.abs(found) > edge).sum() - expected) < 5 * np.sqrt(expected) + 1
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 5 / np.sqrt(len(found))


def test_four_draws_are_added_and_halved_so_that_the_deviation_is_the_stated_one() -> None:
    like = torch.zeros(300, 700)
    found = OsNoise().like(like, std=3.0)
    assert (found.shape, found.dtype) == (like.shape, like.dtype)
    assert kstest(found.double().flatten().numpy() / 3.0, "norm").pvalue > 1e-6


def test_it_is_the_documented_function_of_the_documented_stream(fixed_key: None) -> None:
    count = noise_module._CHUNK + 5
    cipher = Cipher(algorithms.AES(bytes(range(32))), modes.CTR(bytes(range(16)))).encryptor()
    bits = np.frombuffer(cipher.update(bytes(8 * count)), dtype="<u8") >> np.uint64(12)
    expected = norm.ppf((bits.astype(np.float64) + 0.5) / 2**52)
    np.testing.assert_allclose(OsNoise().normal(count).numpy(), expected, rtol=1e-9)


def test_the_extreme_bits_give_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    for byte, sign in ((b"\0", -1), (b"\xff", 1)):
        source = OsNoise()
        monkeypatch.setattr(
            source, "_stream", type("S", (), {"update": lambda _s, d, b=byte: b * len(d)})()
        )
        found = float(source.normal(1)[0])
        assert 8.0 < sign * found < 8.4


def test_no_two_sources_agree_and_none_shows_its_key() -> None:
    first, second = OsNoise(), OsNoise()
    assert not torch.equal(first.normal(8), second.normal(8))
    assert not torch.equal(first.normal(8), first.normal(8))
    assert repr(first) == "OsNoise()"
    assert isinstance(os_noise(), OsNoise)


def test_training_takes_its_noise_from_it(fixed_key: None) -> None:
    """Without a signal a step of plain SGD moves the weights by exactly the noise."""
    model = nn.Sequential(nn.Linear(50, 1, bias=False), nn.Flatten(0))
    nn.init.zeros_(model[0].weight)
    train_dp(
        model,
        losses=lambda m, index: 0.0 * m(torch.zeros(len(index), 50)),
        units=torch.arange(4),
        settings=DpSgdSettings(
            sampling_rate=1.0, noise_multiplier=2.0, clipping_norm=1.5, expected_units=1.0, steps=1
        ),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
        sampling=torch.Generator().manual_seed(1),
        noise=OsNoise(),
    )
    expected = OsNoise().like(torch.zeros(1, 50), std=3.0)
    assert torch.allclose(-model[0].weight, expected, atol=1e-6)
