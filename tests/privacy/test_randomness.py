import numpy as np
import pytest
import torch
from scipy.stats import kstest

from privacy.errors import SettingsError
from privacy.randomness import os_generator, os_rng


def test_why_manual_seed_is_not_enough() -> None:
    """If this fails, PyTorch has begun to use all 64 bits of a CPU seed."""
    low, high = (torch.Generator().manual_seed(seed) for seed in (1, 1 + 2**32))
    assert torch.equal(torch.rand(8, generator=low), torch.rand(8, generator=high))


def test_the_whole_state_comes_from_the_system() -> None:
    first, second = (os_generator().get_state()[24 : 24 + 8 * 624].numpy() for _ in range(2))
    words = [state.copy().view(np.uint64) for state in (first, second)]
    assert (words[0] != words[1]).mean() > 0.99
    assert all(int(word.max()) < 2**32 for word in words)
    bits = np.unpackbits(words[0].astype(np.uint32).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_draws_differ_and_are_well_distributed() -> None:
    generator = os_generator()
    normal = torch.randn(20_000, generator=generator).numpy()
    uniform = torch.rand(20_000, generator=generator).numpy()
    assert kstest(normal, "norm").pvalue > 1e-6
    assert kstest(uniform, "uniform").pvalue > 1e-6
    assert not torch.equal(
        torch.rand(8, generator=os_generator()), torch.rand(8, generator=os_generator())
    )


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    os_generator()
    assert torch.equal(torch.rand(4), expected)


def test_a_state_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privacy.randomness._STATE_BYTES", 16)
    with pytest.raises(SettingsError, match="unknown form"):
        os_generator()


def test_numpy() -> None:
    assert os_rng().integers(2**60) != os_rng().integers(2**60)
