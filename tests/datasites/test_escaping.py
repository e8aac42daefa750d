"""What is shown can be seen: no character of a hostile text acts on a screen."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.escaping import count_invisible, is_invisible, visible

ACTS = {
    "clear the screen": "\x1b[2J\x1b[H",
    "write to the clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "conceal": "\x1b[8mhidden\x1b[0m",
    "a link": "\x1b]8;;http://evil.example\x1b\\word\x1b]8;;\x1b\\",
    "a C1 sequence": "\x9b2J",
    "a carriage return": "rounds: 1000\rrounds: 3",
    "backspaces": "1000\b\b\b\b3   ",
    "a bidirectional override": "\u202etxt.exe",
    "an isolate": "/*\u2066 } \u2069\u2066if",
    "a zero-width space": "Ann\u200b",
    "a byte order mark": "\ufeffAnn",
    "tags": "\U000e0041\U000e0042",
    "a separator of lines": "a\u2028b",
    "a separator of paragraphs": "a\u2029b",
    "next line": "a\x85b",
    "a filler": "\u3164",
    "a variation selector": "a\ufe0f\U000e0100",
    "a space that is none": "a\u00a0b\u2003c",
    "a soft hyphen": "a\u00adb",
    "half a pair": "\ud800",
    "private use": "\ue000",
    "blank Braille": "\u2800",
}


@pytest.mark.parametrize("how", ACTS)
def test_what_acts_on_a_screen_is_written_out(how):
    shown = visible(ACTS[how])
    assert count_invisible(ACTS[how], keep="") > 0
    assert "<U+" in shown
    assert not any(is_invisible(one) for one in shown)


@given(st.text())
def test_what_is_shown_is_seen_and_stays_so(text):
    shown = visible(text)
    assert visible(shown) == shown
    shown.encode()  # no half of a pair is left that a stream could not write
    assert all(one == " " or unicodedata.category(one)[0] in "LMNPS" for one in shown), shown


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Sm", "Sc"])))
def test_words_of_any_language_stay_as_they_are(text):
    fillers = {"\u115f", "\u1160", "\u3164", "\uffa0"}
    assert visible(text) == text or fillers & set(text)


def test_line_ends_stay_where_a_text_is_shown():
    assert visible("a\nb\r\n", keep="\n") == "a\nb<U+000D>\n"
    assert visible("a\nb") == "a<U+000A>b"
    assert count_invisible("a\nb\x1b") == 1
