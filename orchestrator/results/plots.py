"""The study's pictures as PNG bytes. Values in, bytes out; nothing is read or written.

How they look is `plot_style`'s: the same values give the same bytes, whatever a user's settings.
The confusion matrix is one hue from light to dark with its numbers written in. What cannot be
drawn honestly is refused (`ReportingError`) or said in words: an infinite epsilon has no bar, it
reads "no guarantee"; an undefined cosine is a gap.

matplotlib and seaborn are known by this file and `plot_style` only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from orchestrator.aggregation import Contribution
from orchestrator.errors import ReportingError
from orchestrator.pages import shown_delta, shown_epsilon
from orchestrator.results.curves import EpsilonSeries, check_ascending
from orchestrator.results.plot_style import (
    FAINT,
    INK,
    colour,
    dashes,
    draw_curve,
    draw_key,
    figure_and_png,
    grouped,
    name_bars,
    name_label,
    start_at_zero,
)
from orchestrator.rounds import RoundScore
from privacy import RELATION, per_unit

if TYPE_CHECKING:
    from models import Evaluation
    from orchestrator.results.hospital_figures import HospitalFigures


def loss_accuracy_png(scores: Sequence[RoundScore]) -> bytes:
    """Loss, and accuracy with macro F1, of the global model after each round.

    Raises:
        ReportingError: there are no scores, or their rounds do not ascend.
    """
    if not scores:
        raise ReportingError("no round has been scored; there is no curve to draw")
    rounds = [score.round for score in scores]
    check_ascending(rounds)
    with figure_and_png(width=9.0, height=3.7) as (figure, png):
        left, right = figure.subplots(1, 2)
        draw_curve(left, rounds, [s.loss for s in scores], index=0)
        left.annotate(
            f"{scores[-1].loss:.3g}",
            (rounds[-1], scores[-1].loss),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour(0),
            fontweight="bold",
        )
        left.set(title="Loss on the test set", ylabel="Cross-entropy (nats per image)")
        start_at_zero(left)
        # The last values stand in the legend: written at the ends of two close lines they collide.
        last = scores[-1]
        accuracy, f1 = (
            f"Accuracy, at last {last.accuracy:.1%}",
            f"Macro F1, at last {last.macro_f1:.1%}",
        )
        draw_curve(right, rounds, [s.accuracy for s in scores], index=2, label=accuracy)
        draw_curve(right, rounds, [s.macro_f1 for s in scores], index=1, label=f1)
        right.set(title="Accuracy and macro F1 on the test set", ylabel="Score (100% is perfect)")
        right.set_ylim(0, 1.02)
        right.yaxis.set_major_formatter(PercentFormatter(1.0))
        right.legend(loc="lower right")
        return png()


def confusion_png(evaluation: Evaluation) -> bytes:
    """Confusion matrix: counts, and shares of each true class, which the colour shows again.

    Raises:
        ReportingError: the matrix is not square with one row for each class.
    """
    counts = np.array(evaluation.confusion, dtype=np.int64)
    names = [name_label(name) for name in evaluation.classes]
    if counts.shape != (len(names), len(names)) or not names:
        raise ReportingError(f"a confusion matrix of {counts.shape} for {len(names)} classes")
    support = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(support, 1)
    cells = [
        [_cell(int(count), share) for count, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]
    # Cells come out about square; told to be exactly so, they push labels over the edge.
    side = max(3.6, 1.0 + 0.95 * len(names))
    longest = max(map(len, names))
    with figure_and_png(width=side + 0.6 + 0.085 * longest, height=side + 0.5) as (figure, png):
        axes = figure.subplots()
        sns.heatmap(
            shares,
            ax=axes,
            annot=np.array(cells),
            fmt="",
            cmap="Blues",
            vmin=0.0,
            vmax=1.0,
            linewidths=1.5,
            linecolor="white",
            xticklabels=names,
            yticklabels=[f"{n}\n(n = {int(s)})" for n, s in zip(names, support[:, 0], strict=True)],
            cbar=False,
            annot_kws={"fontsize": 10},
        )
        axes.set(xlabel="Predicted class", ylabel="True class (each row is 100%)")
        right = f"{grouped(evaluation.n)} test images, {evaluation.accuracy:.1%} correct"
        axes.set_title(f"Confusion matrix\n{right}")
        axes.tick_params(axis="both", length=0)
        axes.tick_params(axis="y", rotation=0)
        if len(names) > 6:
            axes.set_xticks(
                axes.get_xticks(), names, rotation=45, ha="right", rotation_mode="anchor"
            )
        return png()


def roc_png(evaluation: Evaluation) -> bytes:
    """One ROC curve for each class against the rest, with its AUC.

    Raises:
        ReportingError: the evaluation holds no curve.
    """
    if not evaluation.roc:
        raise ReportingError("the evaluation holds no ROC curve: no class occurs beside others")
    with figure_and_png(width=5.6, height=5.2) as (figure, png):
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=(0, (4, 3)), linewidth=1)
        axes.text(0.62, 0.585, "chance", color=FAINT, rotation=45, fontsize=9)
        curves = {curve.name: curve for curve in evaluation.roc}
        for index, name in enumerate(evaluation.classes):
            curve, look = curves.get(name), dashes(index)
            fpr, tpr = ((), ()) if curve is None else (curve.fpr, curve.tpr)
            area = "no curve: not tested" if curve is None else f"AUC {curve.auc:.3f}"
            label = f"{name_label(name)}, {area}"
            axes.plot(fpr, tpr, label=label, color=colour(index), linestyle=look)
        axes.set(title="ROC, each class against the rest")
        axes.set(xlabel="False positive rate", ylabel="True positive rate (sensitivity)")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.legend(loc="lower right")
        return png()


def hospital_roc_png(hospitals: Sequence[HospitalFigures]) -> bytes:
    """ROC curves at each hospital from noised counts, with bands of 95 %.

    Raises:
        ReportingError: no hospital has released an evaluation.
    """
    if not hospitals:
        raise ReportingError("no hospital has released an evaluation; there is no curve to draw")
    columns = min(3, len(hospitals))
    rows = math.ceil(len(hospitals) / columns)
    with figure_and_png(width=4.1 * columns, height=4.2 * rows) as (figure, png):
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, one in zip(grid, hospitals, strict=False):
            _hospital_roc(axes, one)
        for axes in grid[len(hospitals) :]:
            axes.set_visible(False)
        return png()


def _hospital_roc(axes: Axes, one: HospitalFigures) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=(0, (4, 3)), linewidth=1)
    for index, score in enumerate(one.figures.per_class):
        fpr = [point.fpr for point in score.roc]
        low, high = ([getattr(p.tpr, end) for p in score.roc] for end in ("low", "high"))
        axes.fill_between(fpr, low, high, color=colour(index), alpha=0.09, linewidth=0)
        auc = score.auc
        label = f"{name_label(score.name)} {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
        tpr = [point.tpr.value for point in score.roc]
        axes.plot(fpr, tpr, label=label, color=colour(index), linestyle=dashes(index))
    axes.set(title=name_label(one.hospital), xlabel="False positive rate")
    axes.set(ylabel="True positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", fontsize=7.5, title="AUC (95 % interval)", title_fontsize=7.5)


def epsilon_png(series: Sequence[EpsilonSeries], *, budget: float | None = None) -> bytes:
    """What each hospital has spent: over the rounds, and in all beside its budget.

    Args:
        series: one for each hospital.
        budget: drawn for hospitals whose own budget is not known.

    Raises:
        ReportingError: there is no series.
    """
    if not series:
        raise ReportingError("no hospital has reported what it spent; there is nothing to draw")
    with figure_and_png(width=10.5, height=max(3.4, 1.7 + 0.42 * len(series))) as (figure, png):
        left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.0])
        for index, one in enumerate(series):
            known = [e if math.isfinite(e) else math.nan for e in one.epsilon]
            # Like plans cost alike: a wider line below stays in sight under an equal one.
            width = 1.6 + min(0.9, 4.0 / len(series)) * (len(series) - 1 - index)
            draw_curve(left, one.rounds, known, index=index, width=width)
        left.set(title="Privacy spent, round by round", ylabel=f"Total ε so far ({RELATION})")
        start_at_zero(left)
        _bullets(right, series, budget)
        return png()


def contribution_png(lines: Sequence[Contribution]) -> bytes:
    """How far each hospital moved the weights, how much it agreed, and how many units it has.

    Raises:
        ReportingError: the log is empty.
    """
    if not lines:
        raise ReportingError("the contribution log is empty; there is nothing to draw")
    hospitals = sorted({line.hospital for line in lines})
    with figure_and_png(width=11.0, height=max(3.7, 2.2 + 0.34 * len(hospitals))) as (figure, png):
        norm, cosine, units = figure.subplots(1, 3, width_ratios=[1.0, 1.0, 1.15])
        for index, hospital in enumerate(hospitals):
            own = sorted((x for x in lines if x.hospital == hospital), key=lambda x: x.round)
            rounds = [line.round for line in own]
            width = 1.8 if len(lines) <= 150 else 1.1
            moved = [line.update_norm for line in own]
            draw_curve(norm, rounds, moved, index=index, width=width)
            agreed = [_or_gap(line.cosine_to_aggregate) for line in own]
            draw_curve(cosine, rounds, agreed, index=index, width=width)
        norm.set(title="Size of the update", ylabel="L2 norm of the change of weights")
        start_at_zero(norm)
        cosine.axhline(0, color=FAINT, linewidth=1)
        cosine.set(title="Agreement with the aggregate", ylabel="Cosine (1 = same direction)")
        _widen_to_zero_and_one(cosine)
        _unit_bars(units, hospitals, lines)
        return png()


def _bullets(axes: Axes, series: Sequence[EpsilonSeries], budget: float | None) -> None:
    """A bar for what each hospital spent, a tick for its budget, the numbers in words."""
    mixed = len({one.unit for one in series}) > 1
    limits = [one.budget if one.budget is not None else budget for one in series]
    finite = [x for x in (*limits, *(s.total for s in series)) if x is not None and x < math.inf]
    reach = max(finite, default=1.0) or 1.0
    for row, (one, limit) in enumerate(zip(series, limits, strict=True)):
        spent = one.total if math.isfinite(one.total) else 0.0
        if limit is not None and math.isfinite(limit):
            axes.barh(row, limit, height=0.62, color="#EDEDED")
            axes.plot([limit, limit], [row - 0.4, row + 0.4], color=INK, linewidth=2)
        axes.barh(row, spent, height=0.34, color=colour(row))
        draw_key(axes, row)
        words = _spent(one, limit) + (f" per {one.unit}" if mixed else "")
        axes.text(reach * 1.04, row, words, va="center", fontsize=9)
    name_bars(axes, [one.hospital for one in series])
    axes.set_xlim(0, reach * 1.02)
    limited = any(limit is not None for limit in limits)
    axes.set(title="In all, beside the budget (black tick)" if limited else "In all")
    axes.set_xlabel(f"ε {per_unit('unit' if mixed else series[0].unit)}")


def _spent(one: EpsilonSeries, limit: float | None) -> str:
    """What a hospital spent, in words: epsilon and delta always together."""
    if math.isinf(one.total):
        return shown_epsilon(one.total)
    of = "" if limit is None else f" of {limit:g}"
    return f"ε = {shown_epsilon(one.total)}{of}\nδ = {shown_delta(one.delta)}"


def _unit_bars(axes: Axes, hospitals: Sequence[str], lines: Sequence[Contribution]) -> None:
    """Units behind the last update of each hospital; the y labels are the picture's legend."""
    last = {line.hospital: line for line in sorted(lines, key=lambda line: line.round)}
    for row, hospital in enumerate(hospitals):
        units = last[hospital].units
        axes.barh(row, units, height=0.55, color=colour(row))
        draw_key(axes, row)
        axes.annotate(
            grouped(units),
            (units, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    name_bars(axes, hospitals)
    axes.margins(x=0.16)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: grouped(value)))
    axes.set(title="Units behind the update", xlabel="Privacy units (noised count)")


def _widen_to_zero_and_one(axes: Axes) -> None:
    """Cosines are read against 0 and 1, and negative ones must stay in sight."""
    axes.set_ylim(min(-0.05, axes.get_ylim()[0]), 1.05)


def _or_gap(value: float | None) -> float:
    """A value to draw; NaN leaves a gap in the line."""
    return math.nan if value is None else value


def _cell(count: int, share: float) -> str:
    """Text in a cell of the confusion matrix; empty cells stay quiet."""
    return f"{count}\n{share:.0%}" if count else "0"
