"""What is fixed while a study is played: noise, clock, and a sandbox that is this process."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from datasites.sandbox import Ending, JobFolder
from datasites.sandbox.unsafe import unsafe_root
from datasites.site import site as site_module
from datasites.worker.__main__ import serve
from datasites.worker.files import JobFiles
from datasites.worker.protocol import Profile

START = datetime(2026, 6, 1, tzinfo=UTC)


class Fixed:
    """A source of bytes in place of the operating system's, the same from the same seed."""

    def __init__(self, seed: str) -> None:
        self._seed, self._count = seed.encode(), 0

    def __call__(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            self._count += 1
            out += hashlib.sha256(self._seed + self._count.to_bytes(8, "big")).digest()
        return out[:size]


@contextmanager
def fixed_noise(seed: str) -> Iterator[None]:
    """Let everything that draws from the operating system draw from `seed` instead."""
    source = Fixed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", source)
        patch.setattr(random, "_urandom", source)  # of `secrets`, too
        torch.manual_seed(0)
        yield


class Clock:
    """A clock that goes on by a millisecond each time it is looked at."""

    def __init__(self) -> None:
        self._now = START

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What a person does at the desk takes no time."""
        before = self._now
        yield
        self._now = before


@contextmanager
def fixed_clock() -> Iterator[Clock]:
    real, clock = site_module.now_utc, Clock()
    with pytest.MonkeyPatch.context() as patch:
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get("now_utc") is real:
                patch.setattr(module, "now_utc", clock)
        yield clock


class InProcess:
    """A sandbox played by this process; a job that fails ends as one does in a real one."""

    alive, ready = True, True

    def __init__(self, profile: str, *, folder: JobFolder, data: dict[str, Path], **_: object):
        self.profile, self.folder, self._ending = Profile(profile), folder, None
        folder.create()
        self._root = unsafe_root(folder.root, data)
        folder.log.write_bytes(b"")

    def dispatch(self, inputs: dict[str, bytes], *, within_s: float | None = None) -> None:
        assert within_s
        for name, data in inputs.items():
            (self.folder.inputs / name).write_bytes(data)
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(self.profile is not Profile.REPORT)
        try:
            request = json.loads(inputs["job.json"])["task"]["request"]
            with fixed_noise(request):
                serve(self.profile, JobFiles(self._root))
            self._ending = Ending.DONE
        except Exception:
            self.folder.log.write_text(traceback.format_exc())
            self._ending = Ending.FAILED
        finally:
            torch.set_grad_enabled(before)

    def poll(self) -> Ending | None:
        return self._ending

    def end(self) -> None:
        pass

    def discard(self) -> None:
        shutil.rmtree(self.folder.root)
