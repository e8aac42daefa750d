import hashlib

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import kstest

from privacy.errors import SettingsError
from privacy.mechanism.randomness import KeyStream, UnsafeSeededStream, os_generator, os_rng


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
    monkeypatch.setattr("privacy.mechanism.randomness._STATE_BYTES", 16)
    with pytest.raises(SettingsError, match="unknown form"):
        os_generator()


def test_words_of_a_stream_are_uniform_and_never_the_same() -> None:
    words = KeyStream().words(50_000)
    assert kstest(words / 2.0**64, "uniform").pvalue > 1e-6
    assert len(np.unique(words)) == len(words)
    assert not np.array_equal(KeyStream().words(8), KeyStream().words(8))


def test_a_stream_is_the_documented_function_of_its_key() -> None:
    key = hashlib.sha256(b"unsafe seeded stream 4").digest()
    for number in (0, 3):
        cipher = Cipher(algorithms.AES(key), modes.CTR(number.to_bytes(8, "big") + bytes(8)))
        expected = np.frombuffer(cipher.encryptor().update(bytes(80)), np.uint64)
        stream = UnsafeSeededStream(4)
        found = stream.words(10) if number == 0 else stream.part(number).words(10)
        assert np.array_equal(found, expected)
    for number in (0, -1, 2**64):
        with pytest.raises(SettingsError, match="from 1 on"):
            KeyStream().part(number)


def test_numpy() -> None:
    assert os_rng().integers(2**60) != os_rng().integers(2**60)
