"""The automaton and its tokens: what may be written, character by character and token by token."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.facts import references
from models.render import render
from models.report_automaton import MAX_PIECES, MAX_SENTENCES, Automaton, Mode, State
from models.report_layout import section_openings
from models.report_tokens import TokenTable, Tracker
from models.report_words import VOCABULARY
from models.scripts.report_phrases import write_body
from models.scripts.synthetic_facts import sample_case, sample_facts

NAMES = ("predicted", "p.1", "p.10", "p.glioma")
AUTOMATON = Automaton(NAMES, items=4)


def read(text: str, automaton: Automaton = AUTOMATON, opening: str = "Result\n") -> State | None:
    state: State | None = automaton.start(opening)
    for char in text:
        state = None if state is None else automaton.advance(state, char)
    return state


@pytest.mark.parametrize(
    "text",
    [
        "The model reads images.",
        "The MRI (with contrast) is advised: the F-score, the view.",
        "- {{predicted}}: {{p.10}}\n- the scan with {{p.1}}",
        "{{predicted}} is read.\nThe scan.",
        "The values are:\n- {{p.glioma}}",
    ],
)
def test_admitted(text: str) -> None:
    state = read(text)
    assert state is not None
    assert AUTOMATON.accepts(state)
    after = read(text + ("\n\n" if text.endswith(".") or "- " in text else ""))
    assert after is not None
    assert after.mode is Mode.DONE


@pytest.mark.parametrize(
    "text",
    [
        "the model",  # no capital
        "The Model",  # a capital inside
        "The glioma",
        "The model 9",
        "The model  reads",
        "The spiculated",
        "The {{p.2}}",
        "The {{p.1}}9",
        "The {{p.1\n",
        "The {predicted}",
        "The model..",
        "The model ,",
        "The ((model",
        "The (model.",
        "The model) ",
        "The model\n",
        "-model",
        "\n",
        "The scan.\n\n\n",
        "The modèle",
        "Result\n",
        "The model-",
    ],
)
def test_not_admitted(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "text", ["", "The", "The scan", "- ", "The (scan", "The {{p.1}}", "- the (scan"]
)
def test_a_section_may_not_end_in_the_middle(text: str) -> None:
    state = read(text)
    assert state is not None
    assert not AUTOMATON.accepts(state)


def test_behind_a_fixed_sentence_a_new_one_starts() -> None:
    assert read(" The scan.", opening="Limits\nThis is fixed.") is not None
    assert read("The scan.", opening="Limits\nThis is fixed.") is None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_all_that_the_grammar_writes_is_admitted(seed: int) -> None:
    rng = random.Random(seed)
    facts = sample_facts(rng)
    automaton = Automaton(references(facts), items=len(facts.ranked))
    sections = write_body(facts, rng).split("\n\n")
    for opening, section in zip(section_openings(facts), sections, strict=True):
        state = read(section.removeprefix(opening).rstrip(), automaton, opening)
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


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_whatever_is_drawn_holds_no_digit_or_class_outside_references(seed: int) -> None:
    rng = random.Random(seed)
    facts = sample_case(rng)
    automaton = Automaton(references(facts), items=2)
    tracker = Tracker(automaton, TABLE, opening="Result\n")
    for _ in range(150):
        admitted = tracker.next_tokens()
        if not admitted:
            break
        tracker.take(rng.choice(admitted))
    prose = re.sub(r"\{\{[a-z0-9_.]*\}?\}?", "", tracker.text)
    assert not re.search(r"[0-9%é�]", prose)
    assert not re.search(r"glioma|meningioma|pituitary|tumou?r", prose)
    if tracker.finished:
        render(tracker.text, facts)


def test_admitted_tokens_are_those_whose_characters_are_admitted() -> None:
    rng = random.Random(3)
    for _ in range(10):
        tracker = Tracker(AUTOMATON, TABLE, opening="Result\n")
        for _ in range(rng.randrange(1, 40)):
            if tracker.next_tokens():
                tracker.take(rng.choice(tracker.next_tokens()))
        slow = []
        for token, text in TABLE.texts.items():
            state: State | None = tracker.state
            for char in text:
                state = None if state is None else AUTOMATON.advance(state, char)
            if state is not None:
                slow.append(token)
        assert sorted(slow) == sorted(tracker.next_tokens())


def test_a_sentence_and_a_section_cannot_go_on_for_ever() -> None:
    table = TokenTable({0: "A", 1: " a", 2: ".", 3: " ", 4: "\n", 5: "\n\n"})
    tracker = Tracker(AUTOMATON, table, opening="Result\n")
    taken = 0
    while tracker.next_tokens():
        # The greediest writer: goes on wherever it may.
        order = [1, 0, 3, 2, 4, 5]
        tracker.take(next(token for token in order if token in tracker.next_tokens()))
        taken += 1
        assert taken < 4 * (MAX_PIECES + 20) * (MAX_SENTENCES + 6)
    assert tracker.finished


def test_a_token_that_is_not_admitted_is_refused() -> None:
    tracker = Tracker(AUTOMATON, TABLE, opening="Result\n")
    with pytest.raises(ValueError, match="not admitted"):
        tracker.take(TOKENS.index("9"))
    with pytest.raises(ValueError, match="not admitted"):
        tracker.take(10**6)


def test_the_end_counts_only_where_it_may_come() -> None:
    tracker = Tracker(AUTOMATON, TABLE, opening="Result\n")
    tracker.end()
    assert not tracker.finished


def test_answers_are_kept_for_a_few_automata_only() -> None:
    table = TokenTable({0: "A", 1: "{{"})
    for index in range(40):
        automaton = Automaton([f"n{index}"], items=1)
        assert table.admitted(automaton, automaton.start("Result\n")) == (0, 1)
