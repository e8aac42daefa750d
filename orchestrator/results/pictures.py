"""Which pictures a study's results hold, with their titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models import Evaluation
from orchestrator.results import plots
from orchestrator.results.curves import epsilon_series
from orchestrator.results.hospital_figures import HospitalFigures
from orchestrator.results.html_report import Picture
from orchestrator.rounds import RunState


def study_pictures(
    state: RunState,
    evaluation: Evaluation,
    budgets: Mapping[str, float],
    hospitals: Sequence[HospitalFigures] = (),
) -> dict[str, Picture]:
    """The pictures of a run, by file name; ROC curves only where the test set allows any."""
    series = epsilon_series(state.contributions, budgets=budgets)
    pictures = {
        "curves": Picture(
            title="Loss and accuracy",
            description="Loss and accuracy on the test set after each round.",
            png=plots.loss_accuracy_png(state.scores),
        ),
        "confusion": Picture(
            title="Confusion matrix",
            description="True against predicted classes on the test set.",
            png=plots.confusion_png(evaluation),
        ),
        "epsilon": Picture(
            title="Privacy spent",
            description="Each hospital's total epsilon after each round.",
            png=plots.epsilon_png(series),
        ),
        "contributions": Picture(
            title="Contributions",
            description="Update norms and agreement with the aggregate by hospital.",
            png=plots.contribution_png(state.contributions),
        ),
    }
    if evaluation.roc:
        pictures["roc"] = Picture(
            title="ROC curves",
            description="One class against the others on the test set.",
            png=plots.roc_png(evaluation),
        )
    if hospitals:
        pictures["hospital_roc"] = Picture(
            title="ROC curves at the hospitals",
            description="One class against the others on each hospital's own test cases, from "
            "noised counts; the bands hold with 95 % over cases and noise.",
            png=plots.hospital_roc_png(hospitals),
        )
    return pictures
