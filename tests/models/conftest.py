"""Two cores are shared by everything that runs here: one thread a process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.training_scripts.tiny_stable_diffusion import write_tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_stable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion checkpoint of random components; not to be changed."""
    return write_tiny(tmp_path_factory.mktemp("stable") / "tiny")
