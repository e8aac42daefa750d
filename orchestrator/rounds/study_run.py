"""The rounds of a study: ask, wait, check, aggregate, checkpoint, score; then ask for reports.

One round: every hospital that approved gets the global weights; answers are awaited until all
are there or the time is over; each update is checked (receipt, hashes, names, shapes, finite,
norm) and a bad one is left out, named; with at least a quorum the strategy makes the new global
weights; they are written before anything else happens. A hospital that refuses or fails is out
of that round, its coded reason is kept, and it is asked again in the next one. What a death at any
point leaves behind, and how a resumed run goes on from it, is said in
`orchestrator.rounds.run_folder`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import torch

from datasites import (
    CORRECTION_FILE,
    WEIGHTS_FILE,
    Bundle,
    DataCard,
    GenerateTask,
    GlobalScores,
    PlanError,
    ReportTask,
    Task,
    TrainTask,
)
from models import Evaluation, MetricsError, WeightsError, weights_from_bytes, weights_to_bytes
from orchestrator.aggregation import Aggregator, Contribution, Update, check_update, contributions
from orchestrator.errors import (
    QuorumError,
    UpdateReason,
    UpdateRefusedError,
    VerificationError,
)
from orchestrator.hospitals import HospitalClient
from orchestrator.rounds.asking import Asking, Outcome, problem_of
from orchestrator.rounds.pools import of_one_make, pool_task, released_generator
from orchestrator.rounds.progress import RoundScore, Watcher
from orchestrator.rounds.run_folder import RunFolder, RunState
from orchestrator.rounds.told import Told
from privacy import sha256_hex

log = logging.getLogger("dura.rounds")


class StudyRun:
    """Runs a study's rounds; see the module's docstring.

    Args:
        researcher: the researcher's end of the network.
        bundle: the submitted plan. hospitals: those that approved it, with their data cards.
        folder: the run's folder. state: its state.
        score: evaluates weights on the researcher's own test set.
        watcher: who is told.
    """

    def __init__(
        self,
        researcher: HospitalClient,
        bundle: Bundle,
        hospitals: Mapping[str, DataCard],
        *,
        folder: RunFolder,
        state: RunState,
        score: Callable[[Mapping[str, torch.Tensor]], Evaluation],
        watcher: Watcher,
    ) -> None:
        self._researcher = researcher
        self._study = researcher.study
        self._bundle = bundle
        self._hospitals = tuple(hospitals)
        self._folder = folder
        self._state = state
        self._score = score
        self._watcher = watcher
        self._asking = Asking(researcher, bundle, folder=folder, state=state, watcher=watcher)
        self._scored: tuple[Mapping[str, torch.Tensor], Evaluation] | None = None
        self._units = {site: card.units for site, card in hospitals.items()}

    def leave_out(self, problems: Mapping[str, str]) -> None:
        """Note which hospitals take no part, because what they sent is not what it should be."""
        for site, problem in problems.items():
            if self._state.refusals.get(site, [])[-1:] != [problem]:  # a resumed run notes it once
                self._asking.give_up(site, problem)

    def train(self, initial: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run what is left of the study's rounds; returns the final global weights.

        Raises:
            QuorumError: too few hospitals delivered a usable update.
        """
        self._generators()
        self._pools()
        train = self._study.train
        aggregator = Aggregator(
            self._study.strategy.settings(), travel=train.steps * train.learning_rate
        )
        if self._state.rounds_done == 0 and not self._state.scores:
            self._keep(0, initial, aggregator)
        weights, strategy = self._folder.checkpoint(self._state.rounds_done)
        aggregator.restore(strategy)
        for number in range(self._state.rounds_done + 1, self._study.rounds + 1):
            weights = self._round(number, weights, aggregator)
        return weights

    def ask_reports(self, weights: Mapping[str, torch.Tensor], scores: Evaluation) -> None:
        """Have every hospital draft its reports; they stay there until its owner decides."""
        if self._bundle.plan.reports is None or self._state.reports_asked:
            return
        data = weights_to_bytes(weights)
        shared = GlobalScores(
            n_cases=scores.n,
            accuracy=scores.accuracy,
            macro_f1=scores.macro_f1,
            confusion=scores.confusion,
        )
        told = Told.of(self._state, self._study)
        tasks: dict[str, Task] = {
            site: ReportTask(
                request=self.request_id("reports", site),
                plan_sha256=self._bundle.sha256,
                weights_sha256=sha256_hex(data),
                rounds=self._study.rounds,
                hospitals=told.took_part or len(self._hospitals),
                # One hospital writes about the global model; five would write the same.
                scores=shared if site == self._hospitals[0] else None,
                trend=told.trend,
                share=told.share(site),
                shares=told.named if site == self._hospitals[0] else (),
            )
            for site in self._hospitals
        }
        self._asking.step("reports", tasks, {site: {WEIGHTS_FILE: data} for site in tasks})
        self._state.report_requests = {site: task.request for site, task in tasks.items()}
        self._state.reports_asked = True
        self._folder.save(self._state)

    def request_id(self, what: str, site: str) -> str:
        """The id of this run's request to a hospital, the same after every resumption.

        A hospital serves an id once; one that it answered with a no is followed by a fresh one.
        """
        request = f"{self._study.name}-{self._state.nonce}-{what}"
        used = self._state.spent_requests.get(site, [])
        again = sum(spent.startswith(request) for spent in used)
        return f"{request}-{again + 1}" if again else request

    # --- steps ----------------------------------------------------------------------------

    def _generators(self) -> None:
        if self._bundle.plan.generator is None or self._state.generators_done:
            return
        tasks: dict[str, Task] = {
            site: GenerateTask(
                request=self.request_id("generator", site), plan_sha256=self._bundle.sha256
            )
            for site in self._hospitals
        }
        outcome = self._asking.step("generator", tasks, {})
        self._state.timings.append(outcome.timing)
        # Those that failed are asked again by `resume`; the others have answered already.
        self._state.generators_done = len(outcome.replies) == len(self._hospitals)
        self._folder.save(self._state)

    def _pools(self) -> None:
        """Have each hospital draw from the generators that the others' owners released."""
        if not self._bundle.plan.pools or self._state.pools_done:
            return
        released = self._released()
        made = {
            site: pool_task(
                site,
                released,
                request=self.request_id("pool", site),
                plan_sha256=self._bundle.sha256,
            )
            for site in self._hospitals
        }
        asked = {site: pair for site, pair in made.items() if pair is not None}
        if asked:
            tasks: dict[str, Task] = {site: task for site, (task, _) in asked.items()}
            packed = {site: {WEIGHTS_FILE: data} for site, (_, data) in asked.items()}
            self._state.timings.append(self._asking.step("images of others", tasks, packed).timing)
        self._state.pools_done = True
        self._folder.save(self._state)

    def _released(self) -> dict[str, bytes]:
        """The generators that left, by hospital."""
        found = {}
        for site in self._hospitals:
            request = self.request_id("generator", site)
            try:
                reply = self._researcher.reply(site, request, bundle=self._bundle)
                found[site] = released_generator(site, reply)
            except UpdateRefusedError as error:
                self._asking.give_up(site, error.reason_code)
            except (VerificationError, PlanError) as error:
                log.error("%s", error)
                self._asking.give_up(site, problem_of(error), request=request)
        fitting = of_one_make(found)
        for site in found.keys() - fitting.keys():
            self._asking.give_up(site, UpdateReason.MAKE_DIFFERS)
        return fitting

    def _round(
        self, number: int, weights: dict[str, torch.Tensor], aggregator: Aggregator
    ) -> dict[str, torch.Tensor]:
        data = weights_to_bytes(weights)
        brought = {site: {WEIGHTS_FILE: data} for site in self._hospitals}
        for site, files in brought.items():
            if correction := aggregator.correction(site, like=weights):
                files[CORRECTION_FILE] = weights_to_bytes(correction)
        tasks: dict[str, Task] = {
            site: TrainTask(
                request=self.request_id(f"r{number:04d}", site),
                plan_sha256=self._bundle.sha256,
                round=number,
                weights_sha256=sha256_hex(data),
                steps=self._study.train.steps,
                learning_rate=self._study.train.learning_rate,
                proximal_mu=self._study.strategy.proximal_mu or 0.0,
                correction_sha256=sha256_hex(files[CORRECTION_FILE])
                if CORRECTION_FILE in files
                else None,
            )
            for site, files in brought.items()
        }
        outcome = self._asking.step(f"round {number}", tasks, brought)
        updates = self._updates(outcome, weights)
        self._must_be_quorum(number, updates)
        before = aggregator.state()
        after = aggregator.aggregate(round_number=number, global_weights=weights, updates=updates)
        if not self._can_score(after):
            # Finite weights of which no model can be made: whose are they?
            aggregator.restore(before)
            updates = self._scorable(updates)
            self._must_be_quorum(number, updates)
            after = aggregator.aggregate(
                round_number=number, global_weights=weights, updates=updates
            )
        lines = contributions(
            round_number=number, global_before=weights, global_after=after, updates=updates
        )
        self._warn_of_capped(lines)
        self._state.contributions.extend(lines)
        self._state.timings.append(outcome.timing.model_copy(update={"round": number}))
        self._keep(number, after, aggregator)
        return after

    def _must_be_quorum(self, number: int, updates: Sequence[Update]) -> None:
        if len(updates) < self._study.quorum:
            raise QuorumError(
                f"round {number}: {len(updates)} usable updates, the quorum is "
                f"{self._study.quorum}; refusals so far: {self._state.refusals}. Nothing is lost: "
                "settle the reasons with the hospitals, then `dura study resume`",
                needed=self._study.quorum,
                received=len(updates),
            )

    def _can_score(self, weights: Mapping[str, torch.Tensor]) -> bool:
        """Whether a model with these weights gives figures; what it gave is kept for `_keep`."""
        try:
            self._scored = (weights, self._score(weights))
        except MetricsError as error:
            log.error("%s", error)
            return False
        return True

    def _scorable(self, updates: Sequence[Update]) -> list[Update]:
        """The updates of which each alone gives a model; the others' hospitals are given up."""
        fine = []
        for update in updates:
            if self._can_score({n: torch.as_tensor(t) for n, t in update.weights.items()}):
                fine.append(update)
            else:
                self._asking.give_up(update.hospital, UpdateReason.NOT_SCORABLE)
        return fine

    def _warn_of_capped(self, lines: Sequence[Contribution]) -> None:
        """Say once a run which hospitals' claims of units do not count in full."""
        if not self._study.strategy.settings().weighted:
            return
        known = {line.hospital for line in self._state.contributions if line.is_capped}
        for line in lines:
            if line.is_capped and line.hospital not in known:
                self._watcher.answered(
                    line.hospital,
                    f"weighs as {line.weighed_by:.6g} units; its card claims {line.units:.6g}",
                )

    def _keep(
        self, number: int, weights: Mapping[str, torch.Tensor], aggregator: Aggregator
    ) -> None:
        known = self._scored
        evaluation = known[1] if known and known[0] is weights else self._score(weights)
        score = RoundScore(
            round=number,
            loss=evaluation.loss,
            accuracy=evaluation.accuracy,
            macro_f1=evaluation.macro_f1,
        )
        self._folder.save_checkpoint(number, weights, aggregator.state())
        self._state.scores.append(score)
        self._state.rounds_done = number
        self._folder.save(self._state)
        self._watcher.scored(score)

    def _updates(self, outcome: Outcome, weights: Mapping[str, torch.Tensor]) -> list[Update]:
        updates = []
        for site, reply in outcome.replies.items():
            name = self._bundle.plan.weights_output.name
            receipt = reply.receipt
            if receipt is None or name not in reply.files:
                self._asking.give_up(site, "no_weights", request=reply.answer.request)
                continue
            if name not in receipt.outputs:  # or the hospital could deny that they are its own
                self._asking.give_up(
                    site, UpdateReason.RECEIPT_INVALID, request=reply.answer.request
                )
                continue
            try:
                update = Update(
                    hospital=site,
                    weights=weights_from_bytes(reply.files[name], like=weights),
                    units=self._units[site],
                    epsilon=receipt.epsilon_total,
                    delta=receipt.delta,
                    receipt_sha256=sha256_hex(reply.signed_receipt.encode()),
                    wall_s=outcome.waited_s[site],
                    unit=receipt.unit.words,
                )
                check_update(
                    update,
                    global_weights=weights,
                    max_norm=self._study.strategy.max_update_norm,
                )
            except UpdateRefusedError as error:
                self._asking.give_up(site, error.reason_code, request=reply.answer.request)
                continue
            except WeightsError:
                self._asking.give_up(site, "bad_weights", request=reply.answer.request)
                continue
            updates.append(update)
        return updates
