"""Prompts: facts and fixed instructions, nothing else."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.reports.facts import CaseFacts, references
from models.reports.language.language import patterns
from models.reports.language.layout import DISCLAIMER, sections_of
from models.reports.writer.prompt import COMPACT_TAGS, build_prompt, chat_messages, compact_names
from models.training_scripts.synthetic_facts import sample_case, sample_cohort, sample_facts


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_the_compact_prompt_holds_tags_and_references_and_no_value(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    pieces = re.findall(r"<[a-z ]+>|\{\{[a-z0-9_.]+\}\}", build_prompt(facts))
    assert "".join(pieces) == build_prompt(facts)
    assert {p for p in pieces if p[0] == "<"} <= set(COMPACT_TAGS)
    named = {p[2:-2] for p in pieces if p[0] == "{"}
    assert named <= set(references(facts)) & set(compact_names())
    assert pieces[-1] == "<report>"


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_the_compact_vocabulary_covers_every_ranked_reference(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    spoken = set(references(facts))
    assert spoken <= set(compact_names())


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_the_table_gives_every_reference_with_its_text(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    prompt = build_prompt(facts, "text")
    for row in references(facts).values():
        assert f"{{{{{row.name}}}}} = " in prompt
        assert row.text in prompt
    assert DISCLAIMER in prompt
    assert all(section in prompt for section in sections_of(facts))


def test_two_cases_differ_in_their_facts_only() -> None:
    one, other = (sample_case(random.Random(seed)) for seed in (1, 2))
    system, user = chat_messages(one)
    assert (system.role, user.role) == ("system", "user")
    assert chat_messages(other)[0].content.partition("\n")[0] == system.content.partition("\n")[0]
    for line in user.content.splitlines()[1:]:
        if line.startswith("{{"):
            name, _, text = line.partition(" = ")
            assert text.endswith(references(one)[name[2:-2]].text)
        else:
            assert line.startswith("It holds: ")


def test_numbers_in_a_prompt_are_those_of_the_facts() -> None:
    for seed in range(20):
        facts = sample_facts(random.Random(seed))
        prompt = build_prompt(facts, "text")
        prompt = re.sub(r"\{\{.*?\}\}", "", prompt)
        known = {row.text for row in references(facts).values()}
        for text in sorted(known, key=len, reverse=True):
            prompt = prompt.replace(text, "")
        assert not re.search(r"\d", prompt)


@pytest.mark.parametrize("noised", [True, False])
def test_a_cohort_prompt_says_whether_figures_carry_noise(noised: bool) -> None:
    rng = random.Random(4)
    facts = next(f for f in iter(lambda: sample_cohort(rng), None) if f.noised == noised)
    assert ("It holds: noised." in chat_messages(facts)[1].content) == noised
    assert (f"<{'noised' if noised else 'exact'}>") in build_prompt(facts)


def test_a_tie_is_told() -> None:
    facts = CaseFacts(
        hospital="Northgate Hospital",
        case_id="C-1",
        predicted="glioma",
        probabilities={"glioma": 0.5, "notumor": 0.5},
        model_sha256="0" * 64,
        dataset_version="v1",
        epsilon=1.0,
        delta=1e-5,
        privacy_unit="patient",
    )
    assert "<tied>" in build_prompt(facts)
    assert "It holds: tied." in build_prompt(facts, "text")


def test_the_instructions_hold_the_sentences_that_may_be_said() -> None:
    for facts in (sample_case(random.Random(1)), sample_cohort(random.Random(1))):
        system = chat_messages(facts)[0].content
        for heading, said in patterns(facts):
            assert f"\n{heading}\n  " in system
            assert all(pattern in system for pattern in said)
