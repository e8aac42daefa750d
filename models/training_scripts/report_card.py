"""Measures the shipped report model and writes its model card."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from models.reports.errors import ReportCheckError
from models.reports.language.language import count_sentences
from models.reports.verify.verify import verify_report
from models.reports.writer.writer import ReportWriter
from models.training_scripts.synthetic_facts import sample_facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one training run gave.

    Attributes:
        parameters: weights. weights_bytes: size of their file. vocabulary: tokens.
        reports: written for the measurement. first: passed at the first draft.
        template: written by the template. failed: final texts that failed verification.
        median_s: processor seconds a report. worst_s: of the slowest one.
    """

    parameters: int
    weights_bytes: int
    vocabulary: int
    reports: int
    first: int
    template: int
    failed: int
    median_s: float
    worst_s: float


def measure(folder: Path, reports: int, *, seed: int) -> Measured:
    """Write reports on fresh facts with the model in `folder`."""
    writer = ReportWriter.load(folder)
    rng = random.Random(seed)  # noqa: S311 (data, not secrets)
    times, first, template, failed = [], 0, 0, 0
    for index in range(reports):
        facts = sample_facts(rng)
        started = time.process_time()
        report = writer.write(facts, seed=seed + 10 * index)
        times.append(time.process_time() - started)
        first += report.source == "llama" and report.attempts == 1
        template += report.source == "template"
        try:
            verify_report(report, facts)
        except ReportCheckError:
            failed += 1
    times.sort()
    return Measured(
        parameters=writer.parameters,
        weights_bytes=(folder / "model.safetensors").stat().st_size,
        vocabulary=writer.vocabulary,
        reports=reports,
        first=first,
        template=template,
        failed=failed,
        median_s=times[len(times) // 2],
        worst_s=times[-1],
    )


def model_card(measured: Measured, *, sha256: str, steps: int, texts: int, seed: int) -> str:
    """The card as Markdown."""
    share = 100.0 * measured.first / measured.reports
    fallback = 100.0 * measured.template / measured.reports
    return f"""# report_llama: the small LLaMa that ships with Dura

Writes the prose of Dura's reports where a hospital has not set a larger model.

| | |
|---|---|
| architecture | `LlamaForCausalLM` |
| size | {measured.parameters:,} weights, {measured.vocabulary:,} tokens |
| file | `model.safetensors`, float16, {measured.weights_bytes:,} bytes |
| sha256 of `model.safetensors` | `{sha256}` |
| trained by | `python -m models.training_scripts.train_report_llama`, seed {seed}, {steps:,} steps
| | licence | as Dura |

## What it saw

{texts:,} sections of synthetic texts about randomly drawn facts, and nothing else: no patient, no
image, no report by a person, no text from anywhere. The texts are in the report language that was
written for this project ({count_sentences():,} distinct sentences). It never saw a number or the
name of a class or hospital: it writes references, and its prompt holds control words and the
references that exist.

## What it can do

Choose among the sentences that the facts allow, and word them. Which sentences those are is not its
doing: the report language decides, while the model writes and again when its text is verified. So
few drafts fail, whatever the weights are; what training adds is that optional sentences come as
often as they should. Up to twelve classes. English only.

## What it cannot do

It knows no medicine. It cannot weigh findings, read images, answer questions or write about
anything but these facts; what it advises is what the language's rules tie to class family,
confidence and margin. It is not a medical device and its reports are decision support, not a
diagnosis.

## Measured

On {measured.reports} facts drawn with another seed, on one core: {share:.1f} % of the reports
passed verification at the first draft, {fallback:.1f} % were left to the template after three
drafts, and {measured.failed} final texts failed. Processor seconds a report:
{measured.median_s:.2f} (median), {measured.worst_s:.2f} (slowest). See also `make bench-reports`.

The facts of this measurement are drawn by the same generator as those of the training; names and
figures do not reach the model, so other names and figures change nothing, but other combinations
might.
"""
