"""What a sandbox runs in this suite instead of the trainer: the same files, at once.

The sandbox, its limits, the hand-over and everything that judges its outputs are the real ones;
only the seconds of importing torch are saved, some hundreds of times. The standard library is all
that it needs.
"""

from __future__ import annotations

import array
import json
import sys
from pathlib import Path

JOB_IN, JOB_OUT = Path("/job/in"), Path("/job/out")


def moved(data: bytes) -> bytes:
    """A safetensors file with 0.01 added to every float32."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    body = bytearray(data[start:])
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] == "F32":
            low, high = about["data_offsets"]
            values = array.array("f", bytes(body[low:high]))
            body[low:high] = array.array("f", (value + 0.01 for value in values)).tobytes()
    return data[:start] + bytes(body)


def main() -> int:
    """Serve one job."""
    (JOB_OUT / "_ready").write_bytes(b"")
    if sys.stdin.readline() != "go\n":
        return 1
    task = json.loads((JOB_IN / "job.json").read_text())["task"]
    weights = moved((JOB_IN / "weights.safetensors").read_bytes())
    result = json.dumps({"steps_taken": task["steps"], "work_s": 0.0})
    for prefix in ("_noise-only.", ""):
        (JOB_OUT / f"{prefix}weights.safetensors").write_bytes(weights)
        (JOB_OUT / f"{prefix}result.json").write_text(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
