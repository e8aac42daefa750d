"""Random generators whose whole state comes from the operating system.

PyTorch's CPU generator keeps only the low 32 bits of a seed (measured: seeds 1 and 1 + 2**32 give
the same numbers), so noise drawn after `manual_seed` could be found by trying four thousand million
seeds and then subtracted. Here all 624 words of the Mersenne Twister are filled from
`os.urandom`. It is still not a cryptographic generator: who saw enough of its raw output could
predict the rest. So it samples units and augments, and noise on a CPU comes from `privacy.noise`.
"""

import os
from typing import TYPE_CHECKING

import numpy as np

from privacy.errors import SettingsError

if TYPE_CHECKING:
    import torch

_WORDS = 624
_STATE_BYTES = 5056
_OFFSET = 24  # seed (8), words left (4), seeded (4), next word (8); then the words, 8 bytes each


def os_generator(device: "str | torch.device" = "cpu") -> "torch.Generator":
    """A generator for noise or sampling, seeded by the operating system.

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
            "privacy.randomness must be adapted before noise can be trusted"
        )
    words[:] = np.frombuffer(os.urandom(4 * _WORDS), dtype=np.uint32)
    generator.set_state(torch.from_numpy(state))
    return generator


def os_rng() -> np.random.Generator:
    """A NumPy generator seeded with 128 bits from the operating system."""
    return np.random.default_rng(int.from_bytes(os.urandom(16), "little"))
