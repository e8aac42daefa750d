"""The automaton and its tokens: what may be written, character by character and token by token."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.reports.language.automaton import DONE, Automaton, State
from models.reports.language.language import Section, Step, sections
from models.reports.language.layout import compose
from models.reports.language.rendering import render
from models.reports.verify.verify import verify_report
from models.reports.vocabulary import VOCABULARY
from models.reports.writer.tokens import TokenTable, Tracker
from models.training_scripts.report_phrases import write_sections
from models.training_scripts.synthetic_facts import sample_case, sample_facts

SECTION = Section(
    "Result\n",
    (
        Step(("The scan is {{predicted}}.", "The scan at {{p.1}}."), required=True),
        Step(("The view.", "The views.")),
        Step(("- {{p.10}}",), required=True, listed=True),
        Step(("It is read.",)),
    ),
)
AUTOMATON = Automaton(SECTION)


def read(text: str, automaton: Automaton = AUTOMATON) -> State | None:
    state: State | None = automaton.start()
    for char in text:
        state = None if state is None else automaton.advance(state, char)
    return state


@pytest.mark.parametrize(
    "text",
    [
        "The scan is {{predicted}}.\n- {{p.10}}",
        "The scan at {{p.1}}. The views.\n- {{p.10}}",
        "The scan at {{p.1}}. The view.\n- {{p.10}}\nIt is read.",
    ],
)
def test_admitted(text: str) -> None:
    state = read(text)
    assert state is not None
    assert AUTOMATON.accepts(state)
    after = read(text + "\n\n")
    assert after is not None
    assert after.place == DONE
    assert AUTOMATON.accepts(after)
    assert len(text) + 2 <= AUTOMATON.longest


@pytest.mark.parametrize(
    "text",
    [
        "the scan",
        "The glioma",
        "The scan is {{p.1}}",
        "The scan is {{predicted}} ",
        "The scan is {{predicted}}.  ",
        "The scan is {{predicted}}.\n\n",
        "The scan is {{predicted}}. It",
        "The scan is {{predicted}}. The view. The views",
        "The scan at {{p.1}}. The scan",
        "The scan at {{p.1}}.\n- {{p.10}}\n\n\n",
        "The scan at 9",
        "- {{p.10}}",
        "\n",
        "",
    ],
)
def test_not_admitted_or_not_finished(text: str) -> None:
    state = read(text)
    assert state is None or not AUTOMATON.accepts(state)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_all_texts_that_are_drawn_are_admitted(seed: int) -> None:
    rng = random.Random(seed)
    facts = sample_facts(rng)
    for section, (_, prose) in zip(sections(facts), write_sections(facts, rng), strict=True):
        automaton = Automaton(section)
        state = read(prose, automaton)
        assert state is not None
        assert automaton.accepts(state)


TOKENS = [
    *sorted(VOCABULARY)[::3],
    *(f" {word}" for word in sorted(VOCABULARY)[::2]),
    *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n.,:;()-{}_%",
    " {{",
    "{{p",
    "}}.",
    "}},",
    ".1",
    "10",
    " 95",
    ".\n\n",
    "\n\n",
    ".\n\nThe",
    "gli",
    "oma",
    " glioma",
    "é",
    "�",
    "",
]
TABLE = TokenTable(dict(enumerate(TOKENS)))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_whatever_is_drawn_at_random_is_a_report_that_passes(seed: int) -> None:
    rng = random.Random(seed)
    facts = sample_case(rng) if seed % 2 else sample_facts(rng)
    body = ""
    for section in sections(facts):
        tracker = Tracker(Automaton(section), TABLE)
        while not tracker.finished and not (tracker.may_end and rng.random() < 0.2):
            tracker.take(rng.choice(tracker.next_tokens()))
        prose = re.sub(r"\{\{[a-z0-9_.]*\}\}", "", tracker.text)
        assert not re.search(r"[0-9%é�]|glioma|meningioma|pituitary", prose)
        body += f"{section.opening}{tracker.text.rstrip()}\n\n"
    verify_report(render(compose(facts, body, "llama"), facts).text, facts)


def test_admitted_tokens_are_those_whose_characters_are_admitted() -> None:
    rng = random.Random(3)
    automaton = Automaton(sections(sample_case(rng))[0])
    for _ in range(10):
        tracker = Tracker(automaton, TABLE)
        for _ in range(rng.randrange(1, 40)):
            if tracker.next_tokens():
                tracker.take(rng.choice(tracker.next_tokens()))
        slow = []
        for token, text in TABLE.texts.items():
            state: State | None = tracker.state
            for char in text:
                state = None if state is None else automaton.advance(state, char)
            if state is not None:
                slow.append(token)
        assert sorted(slow) == sorted(tracker.next_tokens())


def test_a_token_that_is_not_admitted_is_refused() -> None:
    tracker = Tracker(AUTOMATON, TABLE)
    with pytest.raises(ValueError, match="not admitted"):
        tracker.take(TOKENS.index("9"))
    with pytest.raises(ValueError, match="not admitted"):
        tracker.take(10**6)


def test_the_end_counts_only_where_it_may_come() -> None:
    tracker = Tracker(AUTOMATON, TABLE)
    tracker.end()
    assert not tracker.finished


def test_answers_are_kept_for_a_few_automata_only() -> None:
    table = TokenTable({0: "A", 1: "B"})
    for index in range(200):
        section = Section("Result\n", (Step((f"A{index}.", f"B{index}."), required=True),))
        automaton = Automaton(section)
        assert table.admitted(automaton, automaton.start()) == (0, 1)
    assert len(table._known) <= 64
