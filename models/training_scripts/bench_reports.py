"""Measures whether reports can lie: `python -m models.training_scripts.bench_reports`.

`make bench-reports` runs it.

In this order:

1. facts that no report may be written from (NaN, infinities, sums away from 1, a recall of a class
   without cases) must be refused;
2. reports are written from varied facts, the edges first: ties, probabilities of 0 and 1, classes
   without cases. Each final text must pass verification, and a reader of its own here, which knows
   nothing of the language, must find no number and no class outside the facts;
3. good reports are corrupted in every kind of `models.training_scripts.report_corruptions`; each
   corrupted text must be refused.

Prints figures, and ends with status 1 if a text gets through, if broken facts are accepted, or if
the 95th percentile of processor seconds a report is above the limit. Processor seconds of one
thread, because other work on the machine lengthens the wall clock; both are printed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from models.reports.errors import FactsError
from models.reports.facts import CohortFacts, Facts, facts_from_json, references
from models.reports.facts.sources import class_text
from models.reports.report import Report
from models.reports.verify.verify import check_report
from models.reports.writer.writer import ReportWriter
from models.training_scripts.report_corruptions import CORRUPTIONS
from models.training_scripts.synthetic_facts import (
    CLASS_SETS,
    sample_case,
    sample_cohort,
    sample_facts,
)

LIMIT_S: Final = 2.0
KINDS_AT_LEAST: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What writing gave.

    Attributes:
        texts: reports with their facts. template: how many the template wrote.
        first: how many passed at the first draft. refused: final texts that fail verification.
        outside: final texts with a number or class outside the facts.
        cpu_s, wall_s: seconds of each report.
    """

    texts: tuple[tuple[Report, Facts], ...]
    template: int
    first: int
    refused: int
    outside: int
    cpu_s: tuple[float, ...]
    wall_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupted:
    """What corrupting gave: instances by kind, and those that got through by kind."""

    tried: Counter[str]
    escaped: Counter[str]


def varied_facts(count: int, rng: random.Random) -> list[Facts]:
    """Facts to report: edges first, then two cases to one cohort."""
    classes = ("glioma", "meningioma", "notumor", "pituitary")
    plain = sample_case(rng)
    edges: list[Facts] = []
    for values in ((1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0), (0.25,) * 4, (0.0, 0.0, 0.5, 0.5)):
        given = dict(zip(classes, values, strict=True))
        edges.append(
            replace(plain, probabilities=given, predicted=max(given, key=given.__getitem__))
        )
    edges.append(replace(plain, probabilities={"a1": 0.9996, "b1": 0.0004}, predicted="a1"))
    rare = (f for f in iter(lambda: sample_cohort(rng), None) if _has_empty_class(f))
    edges.extend(next(rare) for _ in range(3))
    return [*edges, *(sample_facts(rng) for _ in range(count))][:count]


def _has_empty_class(facts: CohortFacts) -> bool:
    return any(scores.cases == 0 for scores in facts.per_class.values())


def accepted_broken_facts(rng: random.Random) -> list[str]:
    """Names of broken facts documents that were accepted; must be empty."""
    case, cohort = json.loads(sample_case(rng).to_json()), json.loads(sample_cohort(rng).to_json())
    first, last = sorted(case["probabilities"])[0], sorted(cohort["per_class"])[0]

    def probability(value: object) -> dict[str, object]:
        return {**case, "probabilities": {**case["probabilities"], first: value}}

    def scores(**values: object) -> dict[str, object]:
        per_class = {**cohort["per_class"], last: {**cohort["per_class"][last], **values}}
        return {**cohort, "per_class": per_class}

    broken = {
        "NaN": probability(math.nan),
        "infinity": probability(math.inf),
        "negative": probability(-0.1),
        "above one": probability(1.1),
        "sum away from one": probability(case["probabilities"][first] + 0.01),
        "text": probability("0.5"),
        "NaN epsilon": {**case, "epsilon": math.nan},
        "infinite epsilon": {**case, "epsilon": math.inf},
        "NaN accuracy": {**cohort, "accuracy": math.nan},
        "no class": {**cohort, "per_class": {}},
        "recall of an empty class": scores(cases=0, recall=0.5, auc=None, intervals={}),
        "interval without its figure": scores(f1=0.5, intervals={"f1": [0.6, 0.7]}),
        "unknown key": {**case, "age": 54},
        "older version": {**case, "version": 1},
    }
    return [name for name, document in broken.items() if not _refused(json.dumps(document))]


def _refused(text: str) -> bool:
    try:
        facts_from_json(text)
    except FactsError:
        return True
    return False


def outside_facts(text: str, facts: Facts) -> bool:
    """Whether a text has digits or a known class that its facts do not have; a reader by itself."""
    written = sorted((row.text for row in references(facts).values()), key=len, reverse=True)
    rest = text
    for value in written:
        rest = rest.replace(value, " ")
    if re.search(r"\d", rest):
        return True
    others = {name for names in CLASS_SETS for name in names} - set(facts.ranked)
    known = {class_text(name) for name in facts.ranked} | set(facts.ranked)
    return any(
        re.search(rf"\b{re.escape(class_text(name))}\b", rest)
        for name in others
        if class_text(name) not in known and name not in ("other", "normal", "healthy")
    )


def write_all(writer: ReportWriter, facts: Sequence[Facts], *, seed: int) -> Written:
    """Write a report from each of the facts and look at what came out."""
    texts, cpu, wall = [], [], []
    for index, each in enumerate(facts):
        started, began = time.process_time(), time.perf_counter()
        report = writer.write(each, seed=seed + 10 * index)
        cpu.append(time.process_time() - started)
        wall.append(time.perf_counter() - began)
        texts.append((report, each))
    return Written(
        texts=tuple(texts),
        template=sum(report.source == "template" for report, _ in texts),
        first=sum(r.source == "llama" and r.attempts == 1 for r, _ in texts),
        refused=sum(bool(check_report(report, each)) for report, each in texts),
        outside=sum(outside_facts(report.text, each) for report, each in texts),
        cpu_s=tuple(sorted(cpu)),
        wall_s=tuple(sorted(wall)),
    )


def corrupt_all(texts: Sequence[tuple[str, Facts]], *, each: int, rng: random.Random) -> Corrupted:
    """Corrupt texts in every kind, `each` times a kind where it applies, and verify the results."""
    tried: Counter[str] = Counter()
    escaped: Counter[str] = Counter()
    for kind, change in CORRUPTIONS.items():
        for text, facts in rng.sample(list(texts), len(texts)):
            if tried[kind] == each:
                break
            changed = change(text, facts, rng)
            if changed is None or changed == text:
                continue
            tried[kind] += 1
            if not check_report(changed, facts):
                escaped[kind] += 1
                print(f"GOT THROUGH, {kind}:\n{changed}\n", file=sys.stderr)
    return Corrupted(tried=tried, escaped=escaped)


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure whether reports can lie.")
    parser.add_argument("--reports", type=int, default=500, help="reports to write")
    parser.add_argument("--each", type=int, default=8, help="corruptions of each kind")
    parser.add_argument("--model", type=Path, help="folder of another LLaMa")
    parser.add_argument("--seed", type=int, default=606)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="processor seconds a report")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rng = random.Random(options.seed)  # noqa: S311 (data, not secrets)
    accepted = accepted_broken_facts(rng)
    writer = ReportWriter.load(options.model)
    facts = varied_facts(options.reports, rng)
    written = write_all(writer, facts, seed=options.seed)
    good = [(report.text, each) for report, each in written.texts]
    corrupted = corrupt_all(good, each=options.each, rng=rng)
    _print(say, writer, written, corrupted, accepted)
    slow = _percentile(written.cpu_s, 95) > options.limit
    if slow:
        say(f"TOO SLOW: above {options.limit:g} processor seconds a report at the 95th percentile")
    few = len(corrupted.tried) < KINDS_AT_LEAST
    wrong = accepted or written.refused or written.outside or corrupted.escaped or few or slow
    say("FAILED" if wrong else "passed")
    return 1 if wrong else 0


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]


def _print(
    say: Callable[[str], None],
    writer: ReportWriter,
    written: Written,
    corrupted: Corrupted,
    accepted: list[str],
) -> None:
    count = len(written.texts)
    say(f"model {writer.model_id}, {writer.parameters:,} weights, one thread")
    say(f"broken facts accepted: {accepted or 0}")
    say(
        f"{count} reports: {written.first} passed at the first draft, {written.template} by the "
        f"template ({100 * written.template / count:.1f} %)"
    )
    say(f"final texts that fail verification: {written.refused}")
    say(f"final texts with a number or class outside the facts: {written.outside}")
    for name, times in (("processor", written.cpu_s), ("wall-clock", written.wall_s)):
        say(
            f"{name} seconds a report: median {_percentile(times, 50):.2f}, "
            f"p95 {_percentile(times, 95):.2f}, slowest {times[-1]:.2f}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"peak memory of the process: {peak:.0f} MiB")
    say(
        f"{sum(corrupted.tried.values())} corruptions of {len(corrupted.tried)} kinds: "
        f"{sum(corrupted.escaped.values())} got through"
    )
    if unused := sorted(set(CORRUPTIONS) - set(corrupted.tried)):
        say(f"kinds that no report here allowed: {', '.join(unused)}")


if __name__ == "__main__":
    sys.exit(main())
