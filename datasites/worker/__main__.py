"""The program inside a sandbox: warm up, wait for the one job, do it, end.

`python -I -m datasites.worker PROFILE [ROOT]`; ROOT is the folder that stands for the file
system's root where there is no sandbox. Importing the libraries takes seconds, so it happens
before the job is there; a line on standard input starts the job. End of input without that line
ends the program.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from pathlib import Path

from datasites.worker.files import JobFiles
from datasites.worker.protocol import Profile, Result

_WORK = {
    Profile.TRAIN: "datasites.worker.train",
    Profile.GENERATE: "datasites.worker.generate",
    Profile.POOL: "datasites.worker.pool",
    Profile.REPORT: "datasites.worker.report",
}


def main(profile: Profile, root: Path = Path("/")) -> int:
    """Serve one job; returns the exit status."""
    # What an import makes stays: nothing is gained by looking for garbage in it.
    gc.disable()
    work = importlib.import_module(_WORK[profile])
    work.warm_up()
    gc.freeze()
    gc.enable()
    if sys.stdin.readline() != "go\n":
        return 1
    files = JobFiles(root)
    started = time.time()
    steps = work.run(files)
    ended = time.time()
    files.write_result(
        Result(steps_taken=steps, work_s=ended - started, started=started, ended=ended)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(Profile(sys.argv[1]), *map(Path, sys.argv[2:3])))
