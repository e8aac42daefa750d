"""The program inside a sandbox: warm up, wait for the one job, do it, end.

`python -I -m datasites.worker PROFILE [ROOT]`; ROOT is the folder that stands for the file
system's root where there is no sandbox. Importing the libraries takes seconds, so it happens
before the job is there, and `READY_FILE` says that it is done; a line on standard input starts the
job. End of input without that line ends the program. First of all it gives up, for good, what the
kernel lets it give up (`datasites.sandbox.landlock`).

**Noise first.** Before a shard is opened the whole job is done on empty shards and its outputs are
left, complete: noise around the weights that came along. Whatever then goes wrong on private data
(an exception, a crash, too little time or memory), the agent has something to release that cost
the same and says nothing of it. Whatever goes wrong before has seen no private data.

Subnormal numbers count as zero: arithmetic on them takes some processors many times longer, so one
image could otherwise choose how long a job takes.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from pathlib import Path

from datasites.sandbox import confine
from datasites.worker.files import JobFiles
from datasites.worker.protocol import Profile, Result

_WORK = {
    Profile.TRAIN: "datasites.worker.train",
    Profile.GENERATE: "datasites.worker.generate",
    Profile.POOL: "datasites.worker.pool",
    Profile.REPORT: "datasites.worker.report",
    Profile.LOOK: "datasites.worker.look",
}
_WITHOUT_SHARD = (Profile.POOL, Profile.LOOK)


def main(profile: Profile, root: Path = Path("/")) -> int:
    """Serve one job; returns the exit status."""
    if root == Path("/"):
        confine()  # before any other thread is there, which it would not bind
    # What an import makes stays: nothing is gained by looking for garbage in it.
    gc.disable()
    work = importlib.import_module(_WORK[profile])
    flush_denormals()
    work.warm_up()
    gc.freeze()
    gc.enable()
    files = JobFiles(root)
    files.say_ready()
    if sys.stdin.readline() != "go\n":
        return 1
    serve(profile, files)
    return 0


def serve(profile: Profile, files: JobFiles) -> None:
    """Do one job: first without the data, if it has any to be without, then as it was asked."""
    work = importlib.import_module(_WORK[profile])
    began = time.monotonic()
    for view in (files,) if profile in _WITHOUT_SHARD else (files.without_data(), files):
        steps = work.run(view)
        view.write_result(Result(steps_taken=steps, work_s=time.monotonic() - began))


def flush_denormals() -> None:
    """Let subnormal numbers count as zero, in every thread that computes.

    Raises:
        RuntimeError: this processor cannot.
    """
    import torch

    # Threads of PyTorch's own pool take the setting over when they are made, so before any is.
    if not torch.set_flush_denormal(True):
        raise RuntimeError("this processor cannot flush subnormal numbers: time would tell of data")


if __name__ == "__main__":
    sys.exit(main(Profile(sys.argv[1]), *map(Path, sys.argv[2:3])))
