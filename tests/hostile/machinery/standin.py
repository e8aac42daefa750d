"""What stands in for a sandbox and its trainer where a real one for each move would be too slow.

It is handed the same inputs at the same place in the agent's code, and leaves the same files under
the same names; what judges them is real. It notes every job that it was given, which is how a play
knows what ran. Each job's weights hold `marker(request)`, 32 bytes that are found wherever they
went. What it prints, and the drafts it leaves, hold canaries.

A play with the real sandbox and trainer is not written yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from datasites.sandbox import Ending, JobFolder
from datasites.worker.protocol import JOB_FILE, NOISE_ONLY
from models import weights_to_bytes

WEIGHTS = "weights.safetensors"
HOW = ("well", "no data", "bad on data", "a link", "dies", "dies at once", "too many steps")
"""How jobs can end."""


def marker(request: str) -> np.ndarray:
    """Eight float32 that only the weights of this request's job hold."""
    digest = hashlib.sha256(request.encode()).digest()
    return (np.frombuffer(digest, np.uint32) % 1_000_003).astype(np.float32)


def small_weights(values: np.ndarray | None = None) -> bytes:
    """A weights file of one tensor."""
    import torch

    made = np.zeros(8, np.float32) if values is None else values
    return weights_to_bytes({"layer": torch.from_numpy(made.copy())})


@dataclass(frozen=True)
class Given:
    """One job that was handed over."""

    request: str
    inputs: Mapping[str, bytes]


@dataclass
class StandIn:
    """Makes sandboxes, and knows what they were given."""

    given: list[Given] = field(default_factory=list)
    how: str = "well"
    open: list[_Sandbox] = field(default_factory=list)

    def install(self, patch) -> None:
        """Have every agent use it."""
        patch.setattr("datasites.agent.sandbox_pool.SandboxProcess", self)
        patch.setattr("datasites.agent.sandbox_pool.require_sandbox", lambda: None)

    def __call__(self, profile, *, folder: JobFolder, **_limits: object) -> _Sandbox:
        folder.create()
        made = _Sandbox(self, str(profile), folder)
        self.open.append(made)
        return made

    def end_all(self) -> None:
        """What becomes of sandboxes when their agent dies."""
        for sandbox in self.open:
            sandbox.alive = False
        self.open.clear()

    @staticmethod
    def slot_over(running):
        """The running job with its slot at its end."""
        return replace(running, due=0.0)


@dataclass(eq=False)
class _Sandbox:
    maker: StandIn
    profile: str
    folder: JobFolder
    alive: bool = True
    ready: bool = True
    ending: Ending | None = None

    def dispatch(self, inputs: Mapping[str, bytes], *, within_s: float | None = None) -> None:
        task = json.loads(inputs[JOB_FILE])["task"]
        self.maker.given.append(Given(task["request"], dict(inputs)))
        how, self.maker.how = self.maker.how, "well"
        self.folder.log.write_bytes(b"canary that a job printed")
        self.ending = Ending.FAILED if how in ("dies", "dies at once") else Ending.DONE
        if how == "dies at once":
            return
        made = self._files(task)
        if how == "too many steps":
            made["result.json"] = b'{"steps_taken": 10001, "work_s": 1.0}'
        self._leave(NOISE_ONLY, made)
        if how == "bad on data":
            made[WEIGHTS] = b"canary that a job printed"
        elif how == "a link":
            (self.folder.outputs / WEIGHTS).symlink_to("/etc/hostname")
            made.pop(WEIGHTS, None)
        if how not in ("no data", "dies"):
            self._leave("", made)

    def _leave(self, prefix: str, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            (self.folder.outputs / f"{prefix}{name}").write_bytes(data)

    def _files(self, task: dict) -> dict[str, bytes]:
        steps = task.get("steps", 0)
        made = {"result.json": json.dumps({"steps_taken": steps, "work_s": 1.0}).encode()}
        if task["kind"] == "train":
            return {**made, WEIGHTS: small_weights(marker(task["request"]))}
        draft = {
            "name": "hospital", "kind": "hospital", "text": "canary of a draft", "facts": "{}",
            "source": "template", "attempts": 1,
        }  # fmt: skip
        return {**made, "reports.json": json.dumps({"reports": [draft]}).encode()}

    def poll(self) -> Ending | None:
        return self.ending

    def end(self) -> None:
        self.alive = False

    def discard(self) -> None:
        self.end()
        _remove(self.folder.root)


def _remove(folder: Path) -> None:
    from datasites.sandbox import remove_tree

    remove_tree(folder)
