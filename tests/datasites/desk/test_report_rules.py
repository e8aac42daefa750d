"""Edits, redactions and links of reports: pure, on real texts with real facts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.desk import BLOCK, HeldReport, MarkKind, Span, assess, link, occurrences
from datasites.desk.held_report import redact
from datasites.desk.revision import edited, text_difference
from datasites.errors import EditRefusedError, RedactionError
from models import DISCLAIMER, facts_from_json, references


@pytest.fixture(scope="session")
def held(drafted, case_facts):
    return HeldReport(**drafted(case_facts).model_dump())


@pytest.fixture(scope="session")
def cohort(drafted, cohort_facts):
    return HeldReport(**drafted(cohort_facts(), name="hospital").model_dump())


def test_a_true_report_verifies_and_names_nobody(held, cohort):
    for report in (held, cohort):
        found = assess(report, words=["Dr Jekyll"])
        assert found.verified
        assert found.marks == ()
    assert assess(cohort, words=[]).noised
    assert not assess(held, words=[]).noised


def test_exact_figures_of_a_cohort_are_seen(drafted, cohort_facts):
    exact = HeldReport(**drafted(cohort_facts(noised=False)).model_dump())
    shared = HeldReport(**drafted(cohort_facts(kind="global", noised=False)).model_dump())
    assert not assess(exact, words=[]).noised
    assert assess(shared, words=[]).noised


@pytest.mark.parametrize(
    ("old", "new"),
    [("91.3 %", "97.3 %"), ("to glioma", "to meningioma"), ("is moderate", "is high"),
     (DISCLAIMER, ""), ("Recommendation", "Advice"), ("A radiologist should", "You must")],
)  # fmt: skip
def test_a_text_that_says_more_than_its_facts_fails(held, old, new):
    lie = held.model_copy(update={"text": held.text.replace(old, new)})
    assert not assess(lie, words=[]).verified
    with pytest.raises(EditRefusedError, match="nothing was changed"):
        edited(held, lie.text)


@pytest.mark.parametrize("facts", ["", "{}", "[" * 500, '{"kind": "case"}'])
def test_facts_that_cannot_be_read_verify_nothing(held, facts):
    found = assess(held.model_copy(update={"facts": facts}), words=[])
    assert not found.verified
    assert not found.noised


def test_a_report_that_calls_itself_another_kind_fails(held):
    assert not assess(held.model_copy(update={"kind": "hospital"}), words=[]).verified


def test_names_in_the_facts_are_marked_as_well(drafted, case_facts):
    import dataclasses

    facts = dataclasses.replace(case_facts, hospital="St Mary", case_id="MRN-00471234")
    report = HeldReport(**drafted(facts).model_dump())
    marks = assess(report, words=["st mary"]).marks
    assert {mark.where for mark in marks} == {"text", "facts.hospital", "facts.case_id"}
    assert {mark.kind for mark in marks} == {MarkKind.SITE_WORD, MarkKind.RECORD_NUMBER}


def test_an_edit_is_counted_and_its_difference_kept(held):
    fewer = held.text.replace(" The runner-up is meningioma with 5.0 %.", "")
    after = edited(held, fewer.rstrip().replace("\n", "\r\n"))
    assert (after.edits, after.text) == (1, fewer)
    assert "-The model assigns" in text_difference(held.text, after.text, number=1)
    with pytest.raises(EditRefusedError, match="there already"):
        edited(after, fewer)


def test_a_redacted_report_is_not_edited(held):
    hidden = redact(held, occurrences(held.text, "91.3 %"))
    with pytest.raises(EditRefusedError, match="--clear"):
        edited(
            hidden,
            held.text.replace(" The runner-up is meningioma with 5.0 %.", ""),
        )


def test_a_block_hides_every_occurrence_and_the_fact(held):
    hidden = redact(held, occurrences(held.text, "91.3"))
    assert "91.3" not in hidden.visible
    assert hidden.visible.count(BLOCK) == len(hidden.redactions) == 2
    assert "91.3 %" not in hidden.visible_facts.values()
    assert "5.0 %" in hidden.visible_facts.values()
    assert assess(hidden, words=[]).verified


def test_a_denial_goes_with_its_sentence(held):
    hidden = redact(held, occurrences(held.text, "cannot"))
    assert "It cannot" not in hidden.visible
    assert f"clinical history. {BLOCK}. Whether" in hidden.visible


@pytest.mark.parametrize("words", ["Case report", "decision support", "Source", "template;"])
def test_what_must_stay_readable_is_not_blocked(held, words):
    with pytest.raises(RedactionError, match="must stay readable"):
        redact(held, occurrences(held.text, words))


@pytest.mark.parametrize("span", [(0, 100_000), (5, 5), (9, 4)])
def test_a_span_that_holds_nothing_is_refused(held, span):
    with pytest.raises(RedactionError, match="holds no words"):
        redact(held, [Span(start=span[0], end=span[1])])
    for words in ("", "  ", "nowhere"):
        with pytest.raises(RedactionError):
            occurrences(held.text, words)


@given(data=st.data())
def test_no_redaction_leaves_half_a_number_or_another_statement(held, data):
    size = len(held.text)
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, min(size, start + 120)))
    try:
        hidden = redact(held, [Span(start=start, end=end)])
    except RedactionError:
        return
    visible = hidden.visible
    assert DISCLAIMER in visible
    whole = set(re.findall(r"\S+", held.text))
    for word in re.findall(r"\S+", visible):
        assert word in whole or BLOCK in word
    hidden_words = [held.text[one.start : one.end] for one in hidden.redactions]
    assert held.text[start:end].strip() in hidden_words[0] or BLOCK in visible
    numbers = {row.text for row in references(facts_from_json(held.facts)).values()}
    for number in re.findall(r"\d+\.\d %", visible):
        assert number in numbers


def test_every_number_is_linked_to_its_fact(held, cohort):
    for report in (held, cohort):
        linked = link(report.text, report.parsed)
        assert linked.unlinked == ()
        table = references(report.parsed)
        for one in linked.links:
            assert all(table[name].text == report.text[one.start : one.end] for name in one.names)
    assert link("The accuracy is 12.5 %.", held.parsed).unlinked == ("12.5",)


def test_equal_figures_are_linked_by_the_class_of_their_sentence(cohort):
    linked = link(cohort.text, cohort.parsed)
    names = [one.names for one in linked.links]
    assert ("precision.1",) in names
    assert ("precision.2",) in names
    assert ("macro_f1",) in names


def test_the_letter_of_a_hospital_is_not_an_article(held):
    starts = [held.text[one.start : one.start + 8] for one in link(held.text, held.parsed).links]
    assert not [words for words in starts if words.startswith("A ")]
