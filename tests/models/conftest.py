"""Two cores are shared by everything that runs here: one thread a process."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
