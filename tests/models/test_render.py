"""Rendering: every reference is filled in, nothing else is touched, holes are refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reports.errors import RenderError
from models.reports.facts import references
from models.reports.language.layout import compose
from models.reports.language.rendering import render
from models.reports.language.template import template_body
from models.training_scripts.synthetic_facts import sample_case, sample_facts

FACTS = sample_case(random.Random(1))


def test_values_are_filled_in_and_listed_in_order_of_use() -> None:
    rendered = render("{{p.1}} for {{predicted}}, again {{p.1}}.", FACTS)
    table = references(FACTS)
    value, name = table["p.1"].text, table["predicted"].text
    assert rendered.text == f"{value} for {name}, again {value}."
    assert rendered.used == ("p.1", "predicted")


@pytest.mark.parametrize(
    "draft", ["{{p.99}}", "{{}}", "{{p.1}", "{p.1}}", "a { b", "}}", "{{a\nb}}"]
)
def test_holes_are_refused(draft: str) -> None:
    with pytest.raises(RenderError):
        render(draft, FACTS)


@given(st.integers(0, 2**32))
def test_no_brace_is_left(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    rendered = render(compose(facts, template_body(facts), "template"), facts)
    assert not set("{}") & set(rendered.text)
    assert set(rendered.used) <= set(references(facts))


@given(st.text(alphabet="ab .{}1", max_size=30))
def test_text_without_references_comes_back_as_it_is_or_is_refused(text: str) -> None:
    try:
        rendered = render(text, FACTS)
    except RenderError:
        assert set("{}") & set(text)
    else:
        assert rendered.text == text
        assert rendered.used == ()
