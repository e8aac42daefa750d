"""What a scan marks, what it passes over, and that it says what it cannot see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.desk import NOT_SCANNED, SCANNED, MarkKind, scan

MARKED = [
    (MarkKind.NAME, "seen by Dr. Miller yesterday", "Dr. Miller"),
    (MarkKind.NAME, "Frau Gruber-Meier kam", "Frau Gruber-Meier"),
    (MarkKind.NAME, "patient: Jane Doe", "patient: Jane Doe"),
    (MarkKind.NAME, "DOE^JANE^M", "DOE^JANE^M"),
    (MarkKind.NAME, "read by J. K. Öberg", "J. K. Öberg"),
    (MarkKind.DATE, "on 2026-11-24 it", "2026-11-24"),
    (MarkKind.DATE, "on 24.11.2026 it", "24.11.2026"),
    (MarkKind.DATE, "on 11/24/26 it", "11/24/26"),
    (MarkKind.DATE, "on 24 November 2026 it", "24 November 2026"),
    (MarkKind.DATE, "in March 1961", "March 1961"),
    (MarkKind.DATE, "on the 3rd May 1961", "3rd May 1961"),
    (MarkKind.DATE, "19610324", "19610324"),
    (MarkKind.DATE, "aged 64", "aged 64"),
    (MarkKind.RECORD_NUMBER, "MRN: 12345", "MRN: 12345"),
    (MarkKind.RECORD_NUMBER, "number 0012345678 was", "0012345678"),
    (MarkKind.RECORD_NUMBER, "accession no. A-77/26", "accession no. A-77/26"),
    (MarkKind.RECORD_NUMBER, "NHS 943 476 5919", "943 476 5919"),
    (MarkKind.EMAIL, "ask ann.lee@hospital-a.example", "ann.lee@hospital-a.example"),
    (MarkKind.WEB, "see https://x.example/p?id=1", "https://x.example/p?id=1"),
    (MarkKind.PHONE, "call +49 89 123 45 678", "+49 89 123 45 678"),
    (MarkKind.PHONE, "call 020 7946 0991", "020 7946 0991"),
    (MarkKind.PHONE, "call (555) 010-9999", "(555) 010-9999"),
    (MarkKind.ADDRESS, "from 10.1.2.3 here", "10.1.2.3"),
    (MarkKind.DICOM_TAG, "tag (0010,0020) holds", "(0010,0020)"),
    (MarkKind.DICOM_UID, "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4"),
]


@pytest.mark.parametrize(("kind", "text", "words"), MARKED, ids=lambda value: str(value)[:30])
def test_what_may_identify_is_marked_with_its_place(kind, text, words):
    marks = scan(text, words=[])
    fitting = [mark for mark in marks if mark.words in words or words in mark.words]
    assert fitting, marks
    for mark in marks:
        assert text[mark.start : mark.end] == mark.words
    assert kind in {mark.kind for mark in marks}


@pytest.mark.parametrize("word", ["St. Mary", "müller", "Ward 7", "Ann-Kathrin"])
@pytest.mark.parametrize(
    "text", ["from ST MARY", "st. mary's", "Dr MULLER", "in WARD  7 now", "ann kathrin said"]
)
def test_the_sites_words_are_found_in_any_dress(word, text):
    plain = {"St. Mary": "st mary", "müller": "muller", "Ward 7": "ward 7",
             "Ann-Kathrin": "ann kathrin"}  # fmt: skip
    marks = [mark for mark in scan(text, words=[word]) if mark.kind is MarkKind.SITE_WORD]
    bare = " ".join(text.casefold().replace(".", " ").split())
    assert bool(marks) is (plain[word] in bare)
    for mark in marks:
        assert text[mark.start : mark.end] == mark.words


@given(st.text(), st.text())
def test_scanning_is_total_and_places_are_true(text, word):
    for mark in scan(text, words=[word]):
        assert text[mark.start : mark.end] == mark.words
        assert mark.start < mark.end


def test_a_word_is_not_found_inside_another():
    assert scan("annotated", words=["ann"]) == ()


OWN = ["case-01234567", "123456 cases"]


@pytest.mark.parametrize(
    "text",
    ["sha256:012345678901", "f" * 64, "case-01234567", "123456 cases",
     "epsilon 2.50 at delta 1e-05",
     "accuracy of 85.0 % (95 % interval 70.0 % to 95.0 %)", "in 3 rounds"],
)  # fmt: skip
def test_what_the_hospitals_own_software_made_is_passed_over(text):
    assert scan(f"it reads {text} here", words=[], own=OWN) == ()


@pytest.mark.parametrize("text", ["case-01234567890", "case-99999999", "sha256:0123456789012345"])
def test_but_only_in_exactly_that_form(text):
    assert scan(text, words=[], own=OWN)


def test_a_listed_word_is_marked_even_where_software_made_it():
    marks = scan("case-01234567", words=["case-01234567"], own=OWN)
    assert [mark.kind for mark in marks] == [MarkKind.SITE_WORD]


def test_a_scan_says_what_it_cannot_see():
    assert "names without a title" in NOT_SCANNED
    assert "DICOM" in SCANNED
    assert scan("the lady from the bakery, John Smith", words=[]) == ()
