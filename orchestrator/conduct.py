"""The rounds of a study, put together: the composition root of `dura study run` and `resume`.

Everything concrete is put together here: the study's office, the test set, the run's folder.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from datasites import Bundle, write_file
from models import (
    Evaluation,
    initial_weights,
    model_file_bytes,
    weights_to_bytes,
)
from orchestrator.errors import QuorumError, StudyError
from orchestrator.hospitals import LAST_RUN, Heard, Submissions
from orchestrator.results import InboxRow, ReportRequests, inbox, read_evaluation, write_results
from orchestrator.rounds import (
    RunFolder,
    RunState,
    StudyRun,
    TestSet,
    Told,
    Watcher,
    bundle_model,
    model_metadata,
    weights_on,
)
from orchestrator.study import look_at_encoder, plan_encoder

log = logging.getLogger("dura.rounds")


class RunService:
    """Conducts the rounds of the study in `folder`.

    Raises:
        StudyError: the study's file is missing or wrong.
        RelayError: the relay is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.office = Submissions(folder)
        self.study = self.office.study
        self.researcher = self.office.researcher

    def run(self, out: Path, test: Path, watcher: Watcher, *, wait_s: float = 0.0) -> Evaluation:
        """Start a run and take it to its end.

        Args:
            out: the run's folder.
            test: the researcher's test folder.
            watcher: who is told.
            wait_s: seconds to wait for hospitals that have not decided.

        Raises:
            QuorumError: too few hospitals approved, or delivered.
            StudyError: a run is in `out` already, or the plan's encoder is not here.
        """
        bundle = self.office.submitted()
        look_at_encoder(bundle.plan, self.study.model)
        self._await_decisions(bundle, wait_s)
        self._approved(bundle)
        # Before the run's folder is: a wrong --test must not leave a run that cannot be ended.
        self._test_set(test, bundle)
        folder = RunFolder(out)
        folder.must_be_free()
        with folder.alone():
            # Before the state: a run that `resume` does not find could be neither ended nor begun.
            last = json.dumps({"out": str(out.absolute())}).encode()
            write_file(self.folder / LAST_RUN, last)
            state = folder.start(study=self.study.name, plan_sha256=bundle.sha256, test=test)
            return self._go(out, state, bundle, watcher)

    def resume(self, watcher: Watcher) -> Evaluation:
        """Take the last run to its end.

        Raises:
            StudyError: there is none, it was of another plan, or the plan's encoder is not here.
        """
        out = self.last_run()
        folder = RunFolder(out)
        folder.load()  # or there is none, and no folder for a lock
        bundle = self.office.submitted()
        with folder.alone():
            return self._resume(out, folder.load(), bundle, watcher)

    def _resume(self, out: Path, state: RunState, bundle: Bundle, watcher: Watcher) -> Evaluation:
        if state.plan_sha256 != bundle.sha256:
            raise StudyError(
                f"the run in {out} was of plan {state.plan_sha256[:12]}, but {bundle.sha256[:12]} "
                "was submitted since; start a new run"
            )
        look_at_encoder(bundle.plan, self.study.model)
        return self._go(out, state, bundle, watcher)

    def last_run(self) -> Path:
        """The folder of the last run.

        Raises:
            StudyError: there was none.
        """
        path = self.folder / LAST_RUN
        if not path.exists():
            raise StudyError(f"no run was started yet; `dura study run {self.folder}` starts one")
        return Path(json.loads(path.read_text())["out"])

    def report_requests(self) -> ReportRequests:
        """The reports asked for outside runs, under the submitted plan."""
        return ReportRequests(self.folder, self.researcher, self.office.submitted())

    def ask_for_reports(
        self, *, model: Path | None, hospitals: Sequence[str], wait_s: float
    ) -> list[InboxRow]:
        """Ask approved hospitals for reports outside a run; returns what they answered.

        Args:
            model: weights to report on; None for those of the last run.
            hospitals: whom to ask; empty for all that approved.
            wait_s: seconds to wait for their answers.

        Raises:
            StudyError: no weights, or on another encoder than the plan's; no reports in the plan,
                or a hospital that did not approve.
        """
        bundle = self.office.submitted()
        self.researcher.collect()
        approved = [
            site for site in self.study.hospitals if self.researcher.heard(site, bundle).takes_part
        ]
        strangers = sorted(set(hospitals) - set(approved))
        if strangers:
            raise StudyError(
                f"{', '.join(strangers)} did not approve the plan; approved: {approved}"
            )
        weights, rounds, told = self._weights_to_report_on(model, bundle, approved=len(approved))
        requests = self.report_requests()
        asked = requests.ask(weights, sites=tuple(hospitals) or approved, rounds=rounds, told=told)
        requests.wait(asked, wait_s=wait_s)
        return inbox(self.researcher, asked, bundle=bundle)

    def report_inbox(self) -> list[InboxRow]:
        """Everything known here of reports: of the last run, and asked for outside runs."""
        self.researcher.collect()
        requests = []
        with suppress(StudyError):  # no run yet
            requests += list(RunFolder(self.last_run()).load().report_requests.items())
        requests += self.report_requests().all()
        return inbox(self.researcher, requests, bundle=self.office.submitted())

    def gather_reports(self) -> Path:
        """Fetch what owners released since, and write results anew; returns the run's folder."""
        out = self.last_run()
        self.researcher.collect()
        bundle = self.office.submitted()
        folder = RunFolder(out)
        state = folder.load()
        if state.rounds_done < self.study.rounds:
            raise StudyError(f"the run in {out} is not finished; `dura study resume {self.folder}`")
        write_results(folder, state, bundle, self.researcher, read_evaluation(folder))
        return out

    # --- inside ---------------------------------------------------------------------------

    def _await_decisions(self, bundle: Bundle, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            self.researcher.collect()
            if all(self.researcher.heard(site, bundle).is_over for site in self.study.hospitals):
                return
            time.sleep(0.2)

    def _weights_to_report_on(
        self, model: Path | None, bundle: Bundle, *, approved: int
    ) -> tuple[bytes, int, Told]:
        """Weights as they travel, the rounds they were trained for, and what is known of those."""
        if model is not None:
            return (
                weights_to_bytes(weights_on(bundle.plan, model)),
                self.study.rounds,
                Told(took_part=approved),
            )
        folder = RunFolder(self.last_run())
        state = folder.load()
        rounds = state.rounds_done
        if rounds == 0:
            raise StudyError("the last run has no finished round yet; give --model FILE")
        weights = weights_to_bytes(self._final(folder, rounds))
        return weights, rounds, Told.of(state, self.study)

    def _approved(self, bundle: Bundle) -> dict[str, Heard]:
        """What every hospital said, of which a quorum takes part."""
        self.researcher.collect()
        heard = {site: self.researcher.heard(site, bundle) for site in self.study.hospitals}
        approved = [site for site, one in heard.items() if one.takes_part]
        reasons = {site: one.why_not for site, one in heard.items() if not one.takes_part}
        for one in heard.values():
            if one.problem:
                log.error("left out: %s", one.details)
        if len(approved) < self.study.quorum:
            raise QuorumError(
                f"{len(approved)} of {len(self.study.hospitals)} hospitals approved the plan, "
                f"the quorum is {self.study.quorum}: {reasons}",
                needed=self.study.quorum,
                received=len(approved),
            )
        return heard

    def _test_set(self, folder: Path, bundle: Bundle) -> TestSet:
        plan = bundle.plan
        return TestSet(folder, classes=plan.classes, image_size=plan.model.image_size)

    def _go(self, out: Path, state: RunState, bundle: Bundle, watcher: Watcher) -> Evaluation:
        test = self._test_set(Path(state.test), bundle)
        heard = self._approved(bundle)
        folder = RunFolder(out)
        folder.save_keys(
            {site: one.card.public_key for site, one in heard.items() if one.card is not None}
        )
        run = StudyRun(
            self.researcher,
            bundle,
            {site: one.card for site, one in heard.items() if one.takes_part and one.card},
            folder=folder,
            state=state,
            score=lambda weights: self._score(test, bundle, weights),
            watcher=watcher,
        )
        run.leave_out({site: one.problem for site, one in heard.items() if one.problem})
        run.train(self._initial(bundle))
        weights = self._final(folder, state.rounds_done)
        evaluation = self._score(test, bundle, weights)
        run.ask_reports(weights, evaluation)
        folder.write("model.safetensors", model_file_bytes(weights, model_metadata(bundle)))
        write_results(folder, state, bundle, self.researcher, evaluation)
        return evaluation

    def _final(self, folder: RunFolder, rounds_done: int) -> dict[str, torch.Tensor]:
        return folder.averaged(rounds_done, rounds=self.study.strategy.average_last)

    def _initial(self, bundle: Bundle) -> Mapping[str, torch.Tensor]:
        plan = bundle.plan
        return initial_weights(
            plan.model.name,
            text=bundle.model_text,
            classes=len(plan.classes),
            image_size=plan.model.image_size,
            seed=self.study.seed,
            encoder=plan_encoder(plan, self.study.model),
        )

    def _score(
        self, test: TestSet, bundle: Bundle, weights: Mapping[str, torch.Tensor]
    ) -> Evaluation:
        return test.score(bundle_model(bundle, weights, self.study.model))
