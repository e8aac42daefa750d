"""What a run leaves for people: `summary.json`, pictures, `report.html`, contribution log, reports.

Every figure comes from the run's own state, the hospitals' signed receipts and the released
model scored on the researcher's test set; nothing is typed in.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from datasites import Bundle, PlanError, ReleasedReport, visible
from models import Evaluation, ModelsError, weights_sha256
from orchestrator.aggregation import contributions_csv, contributions_json
from orchestrator.audit import LedgerFinding, verify_run
from orchestrator.errors import StudyError, VerificationError
from orchestrator.hospitals import HospitalClient, composed, read_receipt
from orchestrator.results.curves import scores_csv
from orchestrator.results.hospital_figures import hospital_figures
from orchestrator.results.html_report import (
    ApprovalRow,
    HospitalReport,
    LedgerStatus,
    ReportRow,
    StudyReport,
    render_html,
)
from orchestrator.results.pictures import study_pictures
from orchestrator.results.report_inbox import always_there
from orchestrator.rounds import RunFolder, RunState
from privacy import RELATION, Receipt

log = logging.getLogger("dura.results")
NEIGHBOURING = f"{RELATION} unit"


EVALUATION_FILE = "evaluation.json"


def read_evaluation(folder: RunFolder) -> Evaluation:
    """How the final model did, as `write_results` left it.

    Raises:
        StudyError: it is not there, or cannot be read.
    """
    path = folder.root / EVALUATION_FILE
    try:
        return Evaluation.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, ModelsError) as error:
        raise StudyError(f"{path}: {error}; `dura study resume` scores the model anew") from error


def write_results(
    folder: RunFolder,
    state: RunState,
    bundle: Bundle,
    researcher: HospitalClient,
    evaluation: Evaluation,
) -> None:
    """Write everything anew from what is on disk."""
    reports, held, withheld = _reports(folder, state, bundle, researcher)
    ledgers = _ledgers(folder)
    spends = _spends(folder)
    for site, signed in reports:
        folder.write(f"reports/{site}/{signed.item}.txt", visible(signed.text, keep="\n").encode())
        folder.write(
            f"reports/{site}/{signed.item}.json", signed.model_dump_json(indent=1).encode()
        )
    folder.write("contributions.csv", contributions_csv(state.contributions).encode())
    folder.write("contributions.json", contributions_json(state.contributions).encode())
    folder.write("scores.csv", scores_csv(state.scores).encode())
    folder.write(EVALUATION_FILE, json.dumps(evaluation.to_json(), indent=1).encode())
    hospitals = _hospitals(state, bundle, researcher, spends, ledgers)
    budgets = {site.name: site.budget for site in hospitals if site.budget is not None}
    figures = hospital_figures(researcher, state.report_requests, bundle)
    for one in figures:
        folder.write(
            f"evaluations/{one.hospital}.json", json.dumps(one.to_json(), indent=1).encode()
        )
    pictures = study_pictures(state, evaluation, budgets, figures)
    for name, picture in pictures.items():
        folder.write(f"plots/{name}.png", picture.png)
    report = StudyReport(
        name=state.study,
        researcher=researcher.study.researcher,
        created_at=datetime.now(UTC),
        plan_sha256=state.plan_sha256,
        model_sha256=weights_sha256((folder.root / "model.safetensors").read_bytes()),
        strategy=researcher.study.strategy.settings().describe(),
        rounds=state.rounds_done,
        neighbouring=NEIGHBOURING,
        hospitals=hospitals,
        evaluation=evaluation,
        evaluation_data="the researcher's own test folder",
        scores=tuple(state.scores),
        contributions=tuple(state.contributions),
        pictures=tuple(pictures.values()),
        reports=tuple(_shown(site, signed) for site, signed in reports),
        reports_held=held,
        reports_withheld=withheld,
        at_hospitals=figures,
    )
    folder.write("report.html", render_html(report).encode())
    counts = {"held": held, "released": len(reports), "withheld": withheld}
    summary = _summary(state, evaluation, spends, ledgers, counts)
    summary["hospital_evaluations"] = {one.hospital: one.figures.to_json() for one in figures}
    folder.write("summary.json", (json.dumps(summary, indent=1) + "\n").encode())


def _summary(
    state: RunState,
    evaluation: Evaluation,
    spends: dict[str, dict[str, Any]],
    ledgers: Sequence[LedgerFinding],
    reports: dict[str, int],
) -> dict[str, Any]:
    rounds = [timing for timing in state.timings if timing.round > 0]
    overhead = sum(timing.overhead_s for timing in rounds) / max(1, len(rounds))
    return {
        "version": 1,
        "study": state.study,
        "plan_sha256": state.plan_sha256,
        "hospitals": sorted(spends),
        "rounds": state.rounds_done,
        "test_images": evaluation.n,
        "test_accuracy": evaluation.accuracy,
        "test_macro_f1": evaluation.macro_f1,
        "epsilon": {site: spend["epsilon"] for site, spend in sorted(spends.items())},
        "delta": {site: spend["delta"] for site, spend in sorted(spends.items())},
        "unit": sorted({spend["unit"] for spend in spends.values()}),
        "unit_by_hospital": {site: spend["unit"] for site, spend in sorted(spends.items())},
        "neighbouring": NEIGHBOURING,
        # Without noise, so that epsilon is infinite for the units they show.
        "disclosed": {site: spend["disclosed"] for site, spend in sorted(spends.items())},
        "reports": reports,
        "ledger_verified": {finding.hospital: finding.verified for finding in ledgers},
        "overhead_s_per_round": round(overhead, 3),
        "round_wall_s": [round(timing.wall_s, 3) for timing in rounds],
        "round_slot_s": [round(timing.slot_s, 3) for timing in rounds],
        "refusals": state.refusals,
        "unsandboxed": state.unsandboxed,
        "wall_s": round(sum(timing.wall_s for timing in state.timings), 3),
    }


def _reports(
    folder: RunFolder, state: RunState, bundle: Bundle, researcher: HospitalClient
) -> tuple[list[tuple[str, ReleasedReport]], int, int]:
    """Released reports with their site, and the numbers of held and withheld ones.

    Of cases only released ones are known here; the others count as nothing.
    """
    released: list[tuple[str, ReleasedReport]] = []
    held = withheld = 0
    first = next(iter(state.report_requests), "")  # which was asked for the global report
    for site in researcher.study.hospitals:
        request = state.report_requests.get(site)
        if request is None:
            continue
        try:
            reply = researcher.reply(site, request, bundle=bundle)
            own = researcher.reports(site, request, bundle=bundle)
            refused = researcher.withheld_notices(site, request)
        except (VerificationError, PlanError) as error:
            log.error("the reports of %s are left out: %s", site, error)
            continue
        if reply is None:
            continue
        released += [(site, signed) for signed in own]
        withheld += len(refused)
        if reply.receipt is not None:
            decided = {signed.kind for signed in own} | {notice.kind for notice in refused}
            held += len(always_there(bundle, asked=site == first) - decided)
    return released, held, withheld


def _spends(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Per hospital, the largest total that its receipts state and all disclosures.

    Never less than what the runs of these receipts compose to, at the same delta.
    """
    spends: dict[str, dict[str, Any]] = {}
    receipts: dict[str, list[Receipt]] = {}
    for path in sorted(folder.root.glob("receipts/*/*.json")):
        receipt = read_receipt(path.read_text()).receipt
        receipts.setdefault(receipt.site, []).append(receipt)
        spend = spends.setdefault(receipt.site, {"epsilon": -1.0, "disclosed": {}})
        if receipt.epsilon_total > spend["epsilon"]:
            spend["epsilon"] = receipt.epsilon_total
            spend["delta"] = receipt.delta
            spend["unit"] = receipt.unit.words
        for kind, count in receipt.disclosed.items():
            spend["disclosed"][kind] = max(count, spend["disclosed"].get(kind, 0))
    for site, spend in spends.items():
        own = composed(receipts[site], delta=spend["delta"])
        spend["epsilon"] = max(spend["epsilon"], own)
    return spends


def _ledgers(folder: RunFolder) -> list[LedgerFinding]:
    """What verification finds, for those ledgers that lie in the run's folder (a demo's do)."""
    try:
        return verify_run(folder.root)
    except VerificationError:
        return []


def _hospitals(
    state: RunState,
    bundle: Bundle,
    researcher: HospitalClient,
    spends: dict[str, dict[str, Any]],
    ledgers: Sequence[LedgerFinding],
) -> tuple[HospitalReport, ...]:
    found = {finding.hospital: finding for finding in ledgers if finding.path}
    shown = []
    for site, spend in sorted(spends.items()):
        heard = researcher.heard(site, bundle)
        decision = heard.decision
        own = [line for line in state.contributions if line.hospital == site]
        finding = found.get(site)
        status = (
            None
            if finding is None
            else LedgerStatus(
                verified=finding.verified,
                entries=finding.entries,
                head_sha256=finding.head,
                problem=finding.problem or None,
            )
        )
        approvals = (
            ()
            if decision is None or not decision.approved
            else (
                ApprovalRow(
                    approver="its data owner",
                    approved_at=datetime.fromisoformat(decision.decided),
                    expires_at=datetime.fromisoformat(decision.expires),
                    maximum_rounds=decision.max_rounds,
                    standing_release=decision.standing_release,
                ),
            )
        )
        shown.append(
            HospitalReport(
                name=site,
                units=heard.card.units if heard.card else own[-1].units if own else 0.0,
                rounds_joined=len(own),
                epsilon=spend["epsilon"],
                delta=spend["delta"],
                budget=None if decision is None else decision.budget,
                approvals=approvals,
                ledger=status,
                unit=spend["unit"],
            )
        )
    return tuple(shown)


def _shown(site: str, signed: ReleasedReport) -> ReportRow:
    return ReportRow(
        hospital=site,
        title=f"{signed.kind} report",
        text=signed.text,
        released_by="its data owner",
        released_at=datetime.fromisoformat(signed.released),
    )
