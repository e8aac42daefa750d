"""Jobs at two hospitals that differ in one image, and what crosses.

`Jobs` is all that the attacks on jobs know of where they run: what comes back is a `Pair`, made
from what a researcher sees. `HospitalJobs` runs them at throw-away hospitals with the installed
agent, sandbox and worker (`datasites.throwaway`).
"""

from __future__ import annotations

import itertools
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Protocol

from datasites import (
    EVALUATION_FILE,
    REPORTS_FILE,
    RESEARCHER,
    WEIGHTS_FILE,
    Bundle,
    DeclaredOutput,
    ModelPart,
    Plan,
    Range,
    ReportPart,
    ReportTask,
    SlotPart,
    Task,
    ThrowawayHospital,
    TrainPart,
    TrainTask,
    make_bundle,
    write_images,
)
from orchestrator.errors import StudyError
from orchestrator.mechanism.adversary import (
    BRAKE_TEXT,
    CLASSES,
    SIZE,
    TRIPWIRE_TEXT,
    Neighbours,
    brake,
    overflow,
    phantoms,
    quiet_start,
    tripwire,
    watched_for,
)
from orchestrator.mechanism.crossing import Crossed
from privacy import sha256_hex

PER_CLASS = 1
ROUNDS = 50
_NOISE = 50.0
_TRAIN_S, _REPORT_S = 6.0, 20.0
_PATIENCE_S, _POLL_S = 600.0, 0.05


class Kind(StrEnum):
    """What is asked for."""

    TRIPWIRE = "tripwire"
    OVERFLOW = "overflow"
    BRAKE = "brake"
    REPORT = "report"


@dataclass(frozen=True)
class Pair:
    """What crossed where the image is not, and where it is."""

    without: Crossed
    with_image: Crossed


class Jobs(Protocol):
    """Somewhere that jobs run, with and without the image in question."""

    def ask(self, kind: Kind) -> Pair:
        """One more job of a kind on either side, and what crosses about it."""
        ...


TRAINING: Neighbours = watched_for(PER_CLASS, seed=1)
TESTING: Neighbours = phantoms(1, seed=2)


def bundle_for(kind: Kind) -> Bundle:
    """The approved plan of a kind of job; a report is asked for under the tripwire's."""
    text, steps = (BRAKE_TEXT, 10) if kind is Kind.BRAKE else (TRIPWIRE_TEXT, 1)
    plan = Plan(
        study=(Kind.TRIPWIRE if kind is Kind.REPORT else kind).value,
        researcher=RESEARCHER,
        classes=CLASSES,
        rounds=ROUNDS,
        model=ModelPart(name="model.py", image_size=SIZE),
        train=TrainPart(
            steps=steps,
            sampling_rate=1.0,
            noise_multiplier=_NOISE,
            clipping_norm=1.0,
            learning_rate=Range(low=0.0, high=1.0),
        ),
        reports=ReportPart(cases=8, metrics_noise_multiplier=_NOISE),
        slots=SlotPart(first_train_s=_TRAIN_S, train_s=_TRAIN_S, report_s=_REPORT_S),
        outputs=(
            DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=8_000_000),
            DeclaredOutput(name=REPORTS_FILE, kind="report", max_bytes=4_000_000),
            DeclaredOutput(name=EVALUATION_FILE, kind="evaluation", max_bytes=1_000_000),
        ),
    )
    return make_bundle(plan, text)


def job_for(kind: Kind, number: int) -> tuple[Bundle, Task, bytes]:
    """Plan, task and weights of the `number`th job of a kind, from 1."""
    bundle = bundle_for(kind)
    if kind is Kind.REPORT:
        weights = quiet_start(TRIPWIRE_TEXT)
        report = ReportTask(
            request=f"report-{number}",
            plan_sha256=bundle.sha256,
            weights_sha256=sha256_hex(weights),
            rounds=1,
            hospitals=1,
        )
        return bundle, report, weights
    weights = {
        Kind.TRIPWIRE: lambda: tripwire(TRAINING.images[-1]),
        Kind.OVERFLOW: overflow,
        Kind.BRAKE: brake,
    }[kind]()
    train = TrainTask(
        request=f"{kind.value}-{number}",
        plan_sha256=bundle.sha256,
        round=number,
        weights_sha256=sha256_hex(weights),
        steps=bundle.plan.train.steps,
        learning_rate=0.0,  # so that noise does not wear down what watches
    )
    return bundle, train, weights


class HospitalJobs:
    """Jobs at two throw-away hospitals; a context manager."""

    def __init__(self) -> None:
        self._ending = ExitStack()
        self._hospitals: dict[bool, ThrowawayHospital] = {}
        self._numbers = {kind: itertools.count(1) for kind in Kind}
        self._approved: set[str] = set()

    def __enter__(self) -> HospitalJobs:
        root = Path(self._ending.enter_context(tempfile.TemporaryDirectory(prefix="dura-attack-")))
        for present in (False, True):
            home = root / ("with" if present else "without")
            self._hospitals[present] = self._ending.enter_context(
                hospital(home, TRAINING, TESTING, present=present)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.__exit__(kind, error, trace)

    def ask(self, kind: Kind) -> Pair:
        """See `Jobs.ask`; both hospitals work at the same time.

        Raises:
            StudyError: a hospital gave no answer.
        """
        number = next(self._numbers[kind])
        bundle, task, weights = job_for(kind, number)
        if bundle.sha256 not in self._approved:
            for at in self._hospitals.values():
                at.approve(bundle)
            self._approved.add(bundle.sha256)
        # Taking turns: who is asked and looked at first would seem to be the quicker one.
        turns = sorted(self._hospitals, reverse=number % 2 == 0)
        asked: dict[bool, float] = {}
        for present in turns:
            asked[present] = time.monotonic()
            self._hospitals[present].send(task, {WEIGHTS_FILE: weights})
        found: dict[bool, Crossed] = {}
        while len(found) < len(turns):
            if time.monotonic() - max(asked.values()) > _PATIENCE_S:
                raise StudyError(f"no answer to {task.request} in {_PATIENCE_S:.0f} s")
            for present in turns:
                at = self._hospitals[present]
                files = None if present in found else at.answered(task.request)
                if files is not None:
                    found[present] = Crossed(files, time.monotonic() - asked[present])
            time.sleep(_POLL_S)
        return Pair(found[False], found[True])


def hospital(
    home: Path, training: Neighbours, testing: Neighbours, *, present: bool
) -> ThrowawayHospital:
    """A throw-away hospital with (or without) the images in question.

    Args:
        home: is made.
        training: its images.
        testing: its test cases.
        present: whether the last one of each is there.
    """
    home.mkdir()
    return ThrowawayHospital(
        home,
        write_images(home / "train", *training.which(present), CLASSES),
        write_images(home / "test", *testing.which(present), CLASSES),
        classes=CLASSES,
        image_size=SIZE,
    )
