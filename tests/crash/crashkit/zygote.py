"""Starts agents, orchestrators and owners as processes of their own, at once.

Importing torch and syft takes seconds; this program does it once and then forks. It reads one JSON
request a line and answers with one JSON line. What it forks is a process like any other: it dies
alone when it is killed, its sandboxes die with it, and it dies with this program.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from boundaries import Boundaries, PowerCut  # noqa: E402

import orchestrator.conduct  # noqa: E402
import orchestrator.results.pictures  # noqa: E402
import orchestrator.results.write  # noqa: E402
from datasites.agent import Agent  # noqa: E402
from datasites.desk import Desk, ItemKind, ItemState  # noqa: E402
from datasites.sandbox import launch  # noqa: E402
from datasites.sandbox.process import WORKER  # noqa: E402
from datasites.site.site import Site  # noqa: E402
from datasites.syftnet.transports.folder import FolderStorage  # noqa: E402
from models import build_model, predict  # noqa: E402
from privacy import epsilon, gaussian  # noqa: E402

_PR_SET_PDEATHSIG = 1
_STANDIN = Path(__file__).with_name("standin.py")


def _light_sandbox() -> None:
    """Have sandboxes run the stand-in for the worker; everything around it stays."""
    real = launch.sandbox_argv

    def argv(program: list[str], *, mounts, **rest) -> list[str]:
        if WORKER not in program:  # what tries out whether there is a sandbox here
            return real(program, mounts=mounts, **rest)
        python = program[0]
        data = {**mounts.data, "standin": _STANDIN.parent}
        light = replace(mounts, data=data)
        return real([python, "-I", "-S", "/data/standin/standin.py"], mounts=light, **rest)

    launch.sandbox_argv = argv


def _agent(order: dict) -> int:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    agent = Agent(Site.open(Path(order["site"])))
    agent.serve(stopped=lambda: bool(stopping))
    return 0


def _odd_relay() -> None:
    """A relay whose listings are sometimes the last ones, in any order, and whose files are
    sometimes not there yet; and a clock that goes back by an hour with every second look."""
    rng = random.Random(os.getpid())
    names, read, now = FolderStorage.names, FolderStorage.read, time.time
    last: dict[str, list[str]] = {}
    hidden: set[str] = set()
    looks = itertools.count()

    def odd_names(storage, path):
        found = names(storage, path)
        before, last[path] = last.get(path, found), found
        shown = list(before if rng.random() < 0.5 else found)
        rng.shuffle(shown)
        return shown

    def odd_read(storage, path, *, limit_bytes):
        if "channels" in path and path not in hidden and rng.random() < 0.3:
            hidden.add(path)
            raise FileNotFoundError(path)
        return read(storage, path, limit_bytes=limit_bytes)

    FolderStorage.names, FolderStorage.read = odd_names, odd_read
    time.time = lambda: now() - 3600 * (next(looks) % 2)


class _Quiet:
    def begin(self, what, hospitals):
        logging.getLogger("crash").info("begin %s of %d", what, hospitals)

    def answered(self, hospital, outcome):
        logging.getLogger("crash").info("%s: %s", hospital, outcome)

    def scored(self, score):
        logging.getLogger("crash").info("scored %s", score)


def _orchestrator(order: dict) -> int:
    # Pictures take longer than all rounds here, and are written anew by every resumption.
    orchestrator.results.write.study_pictures = lambda *_: {}
    conductor = orchestrator.conduct.RunService(Path(order["study"]))
    if order["resume"]:
        conductor.resume(_Quiet())
    else:
        conductor.run(Path(order["out"]), Path(order["test"]), _Quiet())
    return 0


def _owner(order: dict) -> int:
    """Release every held weight of a site."""
    desk = Desk(Site.open(Path(order["site"])))
    for item in desk.items():
        if item.kind is ItemKind.WEIGHTS and item.state is ItemState.HELD:
            desk.decide(item.id, state=ItemState.RELEASED, actor="ann", reason="read")
    return 0


_ROLES = {"agent": _agent, "orchestrator": _orchestrator, "owner": _owner}


def _begin(order: dict) -> int:
    child = os.fork()
    if child:
        return child
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    code = 70
    try:
        power = order.get("power")
        Boundaries(
            Path(order["root"]),
            record=Path(order["record"]) if order.get("record") else None,
            kill=tuple(order["kill"]) if order.get("kill") else None,
            power=PowerCut(tuple(power[0]), Path(power[1])) if power else None,
        ).install()
        if order.get("odd_relay"):
            _odd_relay()
        code = _ROLES[order["role"]](order)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import_the_rest() -> None:
    """What the first use of a model, a figure of epsilon or a page imports."""
    from orchestrator.aggregation.aggregator import Aggregator
    from orchestrator.study.study import StrategySpec

    model = build_model("small_cnn", text=None, classes=2, image_size=32)
    predict(model, np.zeros((1, 32, 32), np.uint8))
    epsilon([gaussian(noise_multiplier=1.0)], delta=1e-5)
    Aggregator(StrategySpec(name="fedavg").settings())


def main() -> None:
    """Serve requests until standard input ends."""
    torch.set_num_threads(1)
    _import_the_rest()
    _light_sandbox()
    ended: dict[int, int] = {}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
        pid = _begin(order) if "role" in order else order["pid"]
        print(json.dumps({"pid": pid, "ended": ended.get(pid)}), flush=True)


if __name__ == "__main__":
    main()
