"""Plays the agent for the matrix: starts a job that is `probe.py` in a real sandbox.

A program of its own, so that it can be run as root and as an ordinary user alike, with an
interpreter that both may read. Prints what the probes were answered, and what the agent saw.
"""

import json
import os
import platform
import socket
import sys
import time
from pathlib import Path


def main(code, work, *, landlock):
    """Run the matrix once; returns it.

    Args:
        code: folder that holds the packages. work: an empty folder.
        landlock: whether the job confines itself first, as Dura's worker does.
    """
    from datasites.sandbox import (
        Installation,
        JobFolder,
        Limits,
        SandboxProcess,
        find_installation,
    )
    from datasites.sandbox.seccomp import ARCHES, denied

    own = work / "code"
    shard = work / "shard"
    for folder in (own, shard):
        folder.mkdir()
    (shard / "shard").write_text("a shard")
    (shard / "shard").chmod(0o600)
    (own / "probe.py").write_text((Path(__file__).parent / "probe.py").read_text())
    python = own / "job"
    python.write_text(f"#!/bin/sh\nread line\nexec {sys.executable} -I {own}/probe.py\n")
    python.chmod(0o755)
    secret = work / "secret"
    secret.write_text("a secret of the host")
    listening = socket.create_server(("127.0.0.1", 0))
    abstract, on_disk = (socket.socket(socket.AF_UNIX) for _ in range(2))
    abstract.bind("\0dura-" + work.name)
    on_disk.bind(str(work / "socket"))
    for each in (abstract, on_disk):
        each.listen()
    arch = ARCHES[platform.machine()]
    limits = Limits(wall_s=60, memory_bytes=1024**3, scratch_bytes=64 * 1024**2)
    facts = {
        "word": os.environ["DURA_RELAY_PASSWORD"],
        "secret": str(secret),
        "port": listening.getsockname()[1],
        "abstract": "dura-" + work.name,
        "socket": str(work / "socket"),
        "process": os.getpid(),
        "memory": limits.memory_bytes,
        "landlock": landlock,
        "code": code,
        "calls": {**denied(platform.machine()), "clone": arch.clone, "clone3": arch.clone3},
    }
    found = find_installation()
    needed = [Path(code) / name for name in ("lazy_loader", "packaging")]
    code_here = [folder for folder in (*found.code, *needed) if folder.exists()]
    sandbox = SandboxProcess(
        "train",
        folder=JobFolder(work / "job"),
        data={"train": shard},
        installation=Installation(found.bwrap, python, (own, *code_here)),
        limits=limits,
    )
    sandbox.dispatch({"task": json.dumps(facts).encode()})
    while sandbox.alive:
        time.sleep(0.01)
    said = sandbox.folder.log.read_text()
    told = sandbox.folder.outputs / "told.json"
    matrix = json.loads(told.read_text()) if told.exists() else {"answers": {}, "memory": {}}
    sandbox.discard()
    left = sorted(path.name for path in work.iterdir())
    return {**matrix, "said": said, "left": left, "limit": limits.memory_bytes}


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    result = main(sys.argv[1], Path(sys.argv[2]), landlock=sys.argv[3] == "landlock")
    sys.stdout.write(json.dumps(result))
