"""What `dura bench accuracy` leaves: a JSON document, a table in text and the curve as a picture.

A line of the table is the mean over seeds, with the standard deviation between them where there is
more than one seed. Pure: values in, text and bytes out.
"""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from orchestrator.bench.accuracy import AccuracyBench, Row
from orchestrator.bench.data import DELTA, HOSPITALS
from orchestrator.results import colour, figure_and_png, marker

_KEYS = ("accuracy", "balanced_accuracy", "macro_f1", "expected_calibration_error")


def document(bench: AccuracyBench, rows: Sequence[Row], *, command: str) -> dict[str, Any]:
    """Everything measured, and with what."""
    return {
        "version": 1,
        "command": command,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} torch threads",
        "torch": torch.__version__,
        "delta": DELTA,
        "hospitals": HOSPITALS,
        "judged_on": "validation part" if bench.data.validation else "held-out images",
        "data": {
            "version": bench.data.version,
            "images": bench.data.train_images,
            "units": int(bench.data.units.max()) + 1,
            "unit": bench.data.unit,
            "classes": list(bench.data.classes),
        },
        "summary": summary(rows),
        "rows": [_row(row) for row in rows],
    }


def as_text(document: Mapping[str, Any]) -> str:
    """A document as JSON, a measured row a line: people read the rest, and the file stays small."""
    whole = json.dumps({**document, "rows": []}, indent=1)
    rows = ",\n  ".join(json.dumps(row) for row in document["rows"])
    return whole.replace('"rows": []', f'"rows": [\n  {rows}\n ]') + "\n"


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for each recipe, division and epsilon, over the seeds."""
    groups: dict[tuple[str, str, float | None], list[Row]] = {}
    for row in rows:
        key = (row.case.name, row.case.partition, row.case.guaranteed)
        groups.setdefault(key, []).append(row)
    return [
        {
            "recipe": name,
            "partition": partition,
            "epsilon": epsilon,
            "seeds": len(group),
            **{key: _spread([getattr(row.evaluation, key) for row in group]) for key in _KEYS},
            "worst_hospital": _spread([min(row.hospitals.values()) for row in group]),
            "recall": {
                score.name: _spread([row.evaluation.per_class[place].recall for row in group])
                for place, score in enumerate(group[0].evaluation.per_class)
            },
        }
        for (name, partition, epsilon), group in groups.items()
    ]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The summary as a Markdown table."""
    classes = list(lines[0]["recall"]) if lines else []
    head = ["recipe", "hospitals", "epsilon", "accuracy", "macro F1", "worst hospital", "ECE"]
    head += [f"recall {name}" for name in classes]
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for line in lines:
        cells = [
            line["recipe"],
            line["partition"],
            "none" if line["epsilon"] is None else f"{line['epsilon']:g}",
            *(
                _shown(line[key])
                for key in ("accuracy", "macro_f1", "worst_hospital", "expected_calibration_error")
            ),
            *(_shown(line["recall"][name]) for name in classes),
        ]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def said(row: Row) -> str:
    """One measured case in a line."""
    case = row.case
    epsilon = "no DP" if case.guaranteed is None else f"epsilon {case.guaranteed:g}"
    return (
        f"{case.name}, {case.partition}, {epsilon}, seed {case.seed}: accuracy "
        f"{row.evaluation.accuracy:.4f}, worst hospital {min(row.hospitals.values()):.4f}, "
        f"{row.train_s:.1f} s"
    )


def curve_png(lines: Sequence[dict[str, Any]]) -> bytes:
    """Accuracy over epsilon, one curve a division; without DP as a level line of dashes."""
    with figure_and_png(width=6.4, height=4.0) as (figure, png):
        axes = figure.add_subplot()
        for place, (name, partition) in enumerate(_curves(lines)):
            chosen = [d for d in lines if (d["recipe"], d["partition"]) == (name, partition)]
            points = sorted((d["epsilon"], d["accuracy"]) for d in chosen if d["epsilon"])
            label = f"{partition}: {name}"
            if points:
                axes.errorbar(
                    [epsilon for epsilon, _ in points],
                    [value["mean"] for _, value in points],
                    yerr=[value["deviation"] for _, value in points],
                    color=colour(place),
                    marker=marker(place),
                    label=label,
                )
            for each in (d for d in chosen if d["epsilon"] is None):
                axes.axhline(
                    each["accuracy"]["mean"],
                    color=colour(place),
                    linestyle="--",
                    linewidth=1.0,
                    label=None if points else f"{label}, no DP",
                )
        axes.set_xscale("log")
        axes.set_xticks([1, 3, 8], labels=["1", "3", "8"])
        axes.minorticks_off()
        axes.set_xlabel(f"epsilon of the study, per unit, add or remove one, at delta {DELTA:g}")
        axes.set_ylabel("accuracy")
        axes.set_title("Accuracy for epsilon; dashes: without DP")
        axes.legend(fontsize=7)
        return png()


def _curves(lines: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((line["recipe"], line["partition"]) for line in lines))


def _row(row: Row) -> dict[str, Any]:
    evaluation = row.evaluation
    return {
        "recipe": row.case.name,
        "partition": row.case.partition,
        "epsilon": row.case.guaranteed,
        "seed": row.case.seed,
        "noise_multiplier": row.noise_multiplier,
        "rounds": row.rounds,
        "train_s": round(row.train_s, 2),
        "n": evaluation.n,
        **{key: getattr(evaluation, key) for key in _KEYS},
        "confusion": [list(line) for line in evaluation.confusion],
        "hospitals": dict(row.hospitals),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.fmean(values), 4), "deviation": round(deviation, 4)}


def _shown(value: dict[str, float]) -> str:
    spread = f" ± {value['deviation']:.3f}" if value["deviation"] else ""
    return f"{value['mean']:.3f}{spread}"
