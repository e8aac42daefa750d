"""A run on disk: what was asked, what came back, and the checkpoint after each round.

    OUT/state.json              the run's state, written whole after every step
    OUT/checkpoints/ROUND.safetensors, ROUND.strategy.safetensors
    OUT/receipts/HOSPITAL/REQUEST.json
    OUT/countersignatures/HOSPITAL/REQUEST.json     what was sent back for a receipt
    OUT/keys.json               the hospitals' ledger keys, as pinned by their data cards
    OUT/.lock                   held by the orchestrator that conducts the run

Request ids follow from the state, which is written before anything is sent. A round counts once
its state is written, after its checkpoint. After any interruption `resume` reads the state, sends
again what may not have been sent (hospitals serve each id once), reads the answers that are here
already, and goes on: a round that was not counted is aggregated anew from the checkpoint before it,
so no update is ever in the global weights twice. All files are written whole or not at all, and
durably. One orchestrator conducts a run: a second one is refused.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import torch
from pydantic import BaseModel, ConfigDict, Field

from datasites import (
    GenerateTask,
    Plan,
    ReportTask,
    Task,
    TrainTask,
    make_folder,
    take_lock,
    write_file,
)
from models import weights_from_bytes, weights_to_bytes
from orchestrator.aggregation import Contribution
from orchestrator.errors import StudyError
from orchestrator.rounds.progress import RoundScore

STATE_FILE = "state.json"


class RoundTiming(BaseModel):
    """One round on the clock.

    Attributes:
        round: 0 for generators and their pools. wall_s: from the first request to the last answer.
        slot_s: seconds of it that are the plan's slot, in which hospitals' jobs work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    round: int
    wall_s: float
    slot_s: float

    @property
    def overhead_s(self) -> float:
        """Everything but the slot: orchestration, transport, checks, a sandbox's start-up."""
        return max(0.0, self.wall_s - self.slot_s)


def step_slot_s(task: Task, plan: Plan, waited: Mapping[str, float]) -> float:
    """The slot that hospitals' jobs of a step had; 0 where no answer came after one.

    A hospital's first round under the plan has a longer one. A run that is not the plan's first
    shows by answers that come sooner than it.

    Args:
        task: one of the step's.
        plan: its plan.
        waited: hospital to seconds until its answer.
    """
    slots = plan.slots
    known: tuple[float, ...]
    match task:
        case TrainTask():
            known = (slots.train_s, slots.first_train_s)
        case GenerateTask():
            known = (slots.generate_s,)
        case ReportTask():
            known = (slots.report_s,)
        case _:
            known = (slots.pool_s,)
    longest_s = max(waited.values(), default=0.0)
    return max((slot_s for slot_s in known if slot_s <= longest_s), default=0.0)


class RunState(BaseModel):
    """Everything a run must remember.

    Attributes:
        study, plan_sha256: what is run. test: the researcher's test folder.
        nonce: makes this run's request ids its own.
        generators_done, pools_done, rounds_done, reports_asked: how far it is.
        report_requests: per hospital, the request id its reports answer.
        refusals: per hospital, the coded reasons it gave, in order.
        unsandboxed: per hospital, requests whose jobs it ran without a sandbox, as it says.
        spent_requests: per hospital, the request ids it answered with a no.
        scores, contributions, timings: what was measured.
    """

    # An epsilon may be infinite, which plain JSON would turn into null.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")
    version: Literal[1] = 1
    study: str
    plan_sha256: str
    test: str
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    generators_done: bool = False
    pools_done: bool = False
    rounds_done: int = 0
    reports_asked: bool = False
    report_requests: dict[str, str] = {}
    refusals: dict[str, list[str]] = {}
    unsandboxed: dict[str, list[str]] = {}
    spent_requests: dict[str, list[str]] = {}
    scores: list[RoundScore] = []
    contributions: list[Contribution] = []
    timings: list[RoundTiming] = []


class RunFolder:
    """The folder of one run; see the module's docstring."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def must_be_free(self) -> None:
        """Refuse to start a run where one is.

        Raises:
            StudyError: a run is here already.
        """
        if (self.root / STATE_FILE).exists():
            raise StudyError(
                f"{self.root} holds a run already; continue it with `dura study resume`, "
                "or choose another --out"
            )

    def start(self, *, study: str, plan_sha256: str, test: Path) -> RunState:
        """A new run's state.

        Raises:
            StudyError: a run is here already.
        """
        self.must_be_free()
        state = RunState(
            study=study,
            plan_sha256=plan_sha256,
            test=str(test.absolute()),
            nonce=secrets.token_hex(4),
        )
        self.save(state)
        return state

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who works on this run; the lock goes with its holder.

        Raises:
            StudyError: another orchestrator conducts it.
        """
        make_folder(self.root)  # durably, or all that is written in it may be lost
        try:
            descriptor = take_lock(self.root / ".lock", wait=False)
        except BlockingIOError as error:
            raise StudyError(
                f"another `dura study` conducts the run in {self.root}; wait for it, or end it"
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def load(self) -> RunState:
        """The state of the run that is here.

        Raises:
            StudyError: there is none, or it cannot be read.
        """
        path = self.root / STATE_FILE
        try:
            return RunState.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise StudyError(
                f"{self.root} holds no run; start one with `dura study run`"
            ) from error
        except pydantic.ValidationError as error:
            raise StudyError(f"{path} is damaged: {error.errors()[0]['msg']}") from error

    def save(self, state: RunState) -> None:
        """Write the state, whole or not at all."""
        self.write(STATE_FILE, state.model_dump_json(indent=1).encode())

    def write(self, name: str, data: bytes) -> Path:
        """Write a file below the run's folder, whole or not at all, for this account only."""
        path = self.root / name
        write_file(path, data)
        return path

    def save_checkpoint(
        self,
        round_number: int,
        weights: Mapping[str, torch.Tensor],
        strategy: Mapping[str, torch.Tensor],
    ) -> None:
        """Keep the global weights and the strategy's state after a round."""
        self.write(f"checkpoints/{round_number:04d}.safetensors", weights_to_bytes(weights))
        self.write(
            f"checkpoints/{round_number:04d}.strategy.safetensors", weights_to_bytes(strategy)
        )

    def checkpoint(
        self, round_number: int
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The weights and the strategy's state after a round."""
        folder = self.root / "checkpoints"
        return (
            weights_from_bytes((folder / f"{round_number:04d}.safetensors").read_bytes()),
            weights_from_bytes((folder / f"{round_number:04d}.strategy.safetensors").read_bytes()),
        )

    def averaged(self, last_round: int, *, rounds: int) -> dict[str, torch.Tensor]:
        """The mean of the global weights after the last `rounds` rounds up to `last_round`."""
        first = max(1, last_round - rounds + 1)
        each = [self.checkpoint(number)[0] for number in range(first, last_round + 1)]
        return {
            name: torch.stack([weights[name].double() for weights in each]).mean(0).to(tensor.dtype)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in each[-1].items()
        }

    def save_receipt(self, hospital: str, request: str, text: str) -> None:
        """Keep a hospital's signed receipt."""
        self.write(f"receipts/{hospital}/{request}.json", text.encode())

    def receipts(self, hospital: str) -> dict[str, str]:
        """Request to text of every kept receipt of a hospital."""
        return {
            path.stem: path.read_text()
            for path in sorted((self.root / "receipts" / hospital).glob("*.json"))
        }

    def receipts_to_countersign(self) -> list[tuple[str, str, str]]:
        """Hospital, request and text of every kept receipt that was not countersigned yet."""
        return [
            (path.parent.name, path.stem, path.read_text())
            for path in sorted(self.root.glob("receipts/*/*.json"))
            if not (self.root / "countersignatures" / path.parent.name / path.name).exists()
        ]

    def save_countersignature(self, hospital: str, request: str, data: bytes) -> None:
        """Keep what was sent back for a receipt."""
        self.write(f"countersignatures/{hospital}/{request}.json", data)

    def save_keys(self, keys: Mapping[str, str]) -> None:
        """Keep the hospitals' ledger keys."""
        self.write("keys.json", (json.dumps(dict(keys), indent=2, sort_keys=True) + "\n").encode())
