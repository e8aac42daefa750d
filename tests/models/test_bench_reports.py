"""A small sample of `make bench-reports`: it passes, and it can fail."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from models.reports.facts import Facts
from models.reports.language.layout import compose
from models.reports.language.rendering import render
from models.reports.verify.verify import check_report
from models.training_scripts import bench_reports
from models.training_scripts.report_corruptions import CORRUPTIONS, SENTENCES
from models.training_scripts.report_phrases import write_body
from models.training_scripts.synthetic_facts import sample_case, sample_facts


def texts(count: int) -> list[tuple[str, Facts]]:
    rng = random.Random(11)
    drawn = [sample_facts(rng) for _ in range(count)]
    return [(render(compose(f, write_body(f, rng), "llama"), f).text, f) for f in drawn]


def test_every_kind_of_corruption_is_caught() -> None:
    result = bench_reports.corrupt_all(texts(14), each=1, rng=random.Random(3))
    assert not result.escaped
    assert len(CORRUPTIONS) >= 120
    # A few kinds need facts that a small sample may lack (a trend, a tie).
    assert len(result.tried) >= len(CORRUPTIONS) - 8


def test_a_sentence_that_no_report_may_hold_is_refused_in_every_section() -> None:
    text, facts = texts(1)[0]
    lines = text.split("\n")
    places = [i for i, line in enumerate(lines[:-2]) if line.endswith(".")]
    for kind, sentence in SENTENCES.items():
        for at in places:
            changed = [*lines[:at], f"{lines[at]} {sentence}", *lines[at + 1 :]]
            assert check_report("\n".join(changed), facts), (kind, at)


def test_broken_facts_are_refused() -> None:
    for seed in range(5):
        assert bench_reports.accepted_broken_facts(random.Random(seed)) == []


def test_the_reader_of_its_own_sees_numbers_and_classes() -> None:
    rng = random.Random(2)
    facts = next(f for f in iter(lambda: sample_case(rng), None) if "notumor" in f.ranked)
    text = render(compose(facts, write_body(facts, rng), "llama"), facts).text
    assert not bench_reports.outside_facts(text, facts)
    assert bench_reports.outside_facts(f"{text} 4", facts)
    assert bench_reports.outside_facts(f"{text} an abscess", facts)


def test_the_edges_are_among_the_facts() -> None:
    facts = bench_reports.varied_facts(20, random.Random(1))
    cases = [f for f in facts if f.kind == "case"]
    assert len(facts) == 20
    assert any(f.tied for f in cases)
    assert any(max(f.probabilities.values()) == 1.0 for f in cases)
    assert any(bench_reports._has_empty_class(f) for f in facts if f.kind != "case")


def test_it_passes_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    # No limit here: tests do not measure time.
    arguments = ["--reports", "4", "--each", "1", "--limit", "1e9"]
    assert bench_reports.main(arguments, said.append) == 0
    shown = "\n".join(said)
    assert "4 reports:" in shown
    assert "0 got through" in shown
    assert "seconds a report: median" in shown
    assert said[-1] == "passed"


def test_it_fails_where_a_text_gets_through_or_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leak = bench_reports.Corrupted(tried=Counter(a=1), escaped=Counter())
    monkeypatch.setattr(bench_reports, "corrupt_all", lambda *a, **k: leak)
    arguments = ["--reports", "1", "--limit", "1e9"]
    assert bench_reports.main(arguments) == 1
    leak = bench_reports.Corrupted(
        tried=Counter({f"k{n}": 1 for n in range(30)}), escaped=Counter(k1=1)
    )
    assert bench_reports.main(arguments) == 1
    leak = bench_reports.Corrupted(
        tried=Counter({f"k{n}": 1 for n in range(30)}), escaped=Counter()
    )
    assert bench_reports.main(arguments) == 0
    assert bench_reports.main(["--reports", "1", "--limit", "0"]) == 1
    assert "TOO SLOW" in capsys.readouterr().out
