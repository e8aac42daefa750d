"""Random numbers whose whole state comes from the operating system.

Two kinds, for two purposes:

- `KeyStream`: AES-256 in counter mode (NIST SP 800-38A) under a key of the operating system's. Who
  sees any of it can predict no other part. Everything that a privacy claim rests on is drawn from
  it: the noise of `privacy.mechanism.noise` and the choice of units of `privacy.training.sampling`;
- `os_generator` and `os_rng`: PyTorch's Mersenne Twister and NumPy's PCG64, seeded by the operating
  system, for augmentation, starting noise of generators and drawn test data. They are not
  cryptographic: who saw enough of their raw output could predict the rest.

PyTorch's CPU generator keeps only the low 32 bits of a seed (measured: seeds 1 and 1 + 2**32 give
the same numbers), so all 624 words of its state are filled from `os.urandom`.
"""

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from privacy.errors import SettingsError

if TYPE_CHECKING:
    import torch

_WORDS = 624
_STATE_BYTES = 5056
_OFFSET = 24  # seed (8), words left (4), seeded (4), next word (8); then the words, 8 bytes each


class KeyStream:
    """The key stream of AES-256 in counter mode, in numbered parts of 2**68 bytes each."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._sequential = self._part(0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # nothing of the key

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next `count` words of part 0, each uniform over 64 bits and never given again."""
        return np.frombuffer(self._sequential.update(bytes(8 * count)), dtype=np.uint64)

    def part(self, number: int) -> "Part":
        """A part by its number, from its start; one number must be asked for once only.

        Args:
            number: from 1 to 2**64 - 1; part 0 is what `words` gives.
        """
        if not 1 <= number < 2**64:
            raise SettingsError(f"a part of a key stream has a number from 1 on, got {number}")
        return Part(self._part(number))

    def _part(self, number: int) -> CipherContext:
        start = number.to_bytes(8, "big") + bytes(8)
        return Cipher(algorithms.AES(self._key), modes.CTR(start)).encryptor()


class Part:
    """One numbered part of a `KeyStream`, read from its start."""

    def __init__(self, encryptor: CipherContext) -> None:
        self._encryptor = encryptor

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next `count` words, each uniform over 64 bits."""
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), dtype=np.uint64)


class UnsafeSeededStream(KeyStream):
    """A key stream that everybody who knows the seed can repeat: for tests and simulations."""

    def __init__(self, seed: int) -> None:
        self._key = hashlib.sha256(b"unsafe seeded stream %d" % seed).digest()
        self._sequential = self._part(0)


def os_generator(device: "str | torch.device" = "cpu") -> "torch.Generator":
    """A PyTorch generator seeded by the operating system; not for noise, not for sampling units.

    Args:
        device: where its numbers are needed. On CUDA the generator is Philox and takes all 64 bits
            of its seed.

    Returns:
        A new generator.

    Raises:
        SettingsError: this PyTorch stores its generator's state in another way.
    """
    import torch

    generator = torch.Generator(device=device)
    if generator.device.type != "cpu":
        generator.manual_seed(int.from_bytes(os.urandom(8), "little") >> 1)
        return generator
    probe = int.from_bytes(os.urandom(4), "little")
    state = generator.manual_seed(probe).get_state().numpy().copy()
    words = state[_OFFSET : _OFFSET + 8 * _WORDS].view(np.uint64)
    if state.size != _STATE_BYTES or words[0] != probe or int(words.max()) >= 2**32:
        raise SettingsError(
            f"PyTorch {torch.__version__} keeps its generator's state in an unknown form; "
            "privacy.mechanism.randomness must be adapted before it can be trusted"
        )
    words[:] = np.frombuffer(os.urandom(4 * _WORDS), dtype=np.uint32)
    generator.set_state(torch.from_numpy(state))
    return generator


def os_rng() -> np.random.Generator:
    """A NumPy generator seeded with 128 bits from the operating system; not for noise."""
    return np.random.default_rng(int.from_bytes(os.urandom(16), "little"))
