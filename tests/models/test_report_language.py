"""The report language: closed, true for the facts it is said of, and readable in one way only."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.reports.facts import references
from models.reports.language.graph import places
from models.reports.language.language import (
    _language,
    count_sentences,
    holds,
    patterns,
    sections,
    variants,
)
from models.reports.language.layout import compose
from models.reports.language.rendering import fill, render
from models.reports.verify.claims import DEGREES, MARGINS, TRENDS
from models.reports.verify.verify import verify_report
from models.reports.vocabulary import VOCABULARY, in_vocabulary
from models.training_scripts.report_phrases import write_body
from models.training_scripts.synthetic_facts import sample_case, sample_cohort, sample_facts


def every_pattern() -> list[str]:
    found = []
    for kind in ("case", "cohort"):
        words = _language(kind)
        found += [p for section in words.sections for slot in section for p in slot.patterns]
        found += [*words.items, *words.leads, *words.inline]
    return found


def test_the_language_is_closed() -> None:
    assert count_sentences() > 800
    assert not {word for word in VOCABULARY if any(char.isdigit() for char in word)}
    for pattern in every_pattern():
        prose = re.sub(r"\{\{[^}]*\}\}|\bLIST\b", " ", pattern)
        assert not re.search(r"[0-9%<>]", prose)
        for word in re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)*", prose):
            assert in_vocabulary(word, opens_sentence=True), word


def test_no_word_is_admitted_that_no_sentence_needs() -> None:
    prose = re.sub(r"\{\{[^}]*\}\}|\bLIST\b", " ", " ".join(every_pattern()))
    said = set(re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)*", prose))
    said |= {word[:1].lower() + word[1:] for word in said}
    said |= DEGREES | MARGINS | TRENDS
    assert VOCABULARY - said == set()


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32))
def test_whatever_is_drawn_from_it_passes_both_readers(seed: int) -> None:
    rng = random.Random(seed)
    facts = sample_facts(rng)
    verify_report(render(compose(facts, write_body(facts, rng), "llama"), facts).text, facts)


@pytest.mark.parametrize("kind", ["case", "cohort"])
def test_every_sentence_passes_for_facts_it_may_be_said_of(kind: str) -> None:
    rng = random.Random(7)
    sample = sample_case if kind == "case" else sample_cohort
    pool = [sample(rng) for _ in range(150)]
    for index, slots in enumerate(_language(kind).sections):
        for slot in slots:
            facts = next(f for f in pool if holds(slot.when, f, references(f)))
            table = references(facts)
            said = [text for pattern in slot.patterns for text in variants(pattern, table)]
            for text in rng.sample(said, min(4, len(said))):
                body = _body_with(sections(facts), index, text)
                verify_report(render(compose(facts, body, "llama"), facts).text, facts)


def _body_with(parts: tuple, wanted: int, sentence: str) -> str:
    """The shortest body that says this sentence in this section."""
    written = []
    for index, section in enumerate(parts):
        graph, text, at = places(section), section.opening, 0
        for number, step in enumerate(section.steps):
            mine = index == wanted and sentence in step.texts
            if not step.required and not mine:
                continue
            ways = [way for way, place in graph[at].ways.items() if place == number + 1]
            text += next(w for w in ways if w.endswith(sentence)) if mine else ways[0]
            at = number + 1
        written.append(text)
    assert sentence in written[wanted]
    return "\n\n".join(written) + "\n"


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_no_way_begins_another_so_that_the_automaton_never_has_to_guess(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    for section in sections(facts):
        for place in places(section):
            ordered = sorted(place.ways)
            for one, other in pairwise(ordered):
                assert not other.startswith(one)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_sentences_point_only_to_what_the_facts_have(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    table = references(facts)
    for section in sections(facts):
        for step in section.steps:
            for text in (*step.texts, *section.inline):
                assert "{{" not in fill(text, table)


def test_the_patterns_shown_are_those_that_may_be_said() -> None:
    rng = random.Random(5)
    tied = next(f for f in iter(lambda: sample_case(rng), None) if f.tied)
    plain = next(f for f in iter(lambda: sample_case(rng), None) if not f.tied)
    shown = dict(patterns(tied))
    assert any("are tied" in pattern for pattern in shown["Result"])
    assert not any("are tied" in p for _, said in patterns(plain) for p in said)
    assert list(shown) == ["Result", "Probabilities", "Confidence", "Limits", "Recommendation"]
