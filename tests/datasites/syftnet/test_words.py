"""The words of a fingerprint: 72 bits, told apart by four letters, taken as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.syftnet.word_list import WORD_COUNT, WORDS, fingerprint_words, same_code

MARK = "9f86-d081-884c-7d65-9a2f-eaa0-c55a-d015"


def test_the_list_carries_eight_bits_a_word_told_apart_by_four_letters():
    assert len(WORDS) == 256
    assert len({word[:4] for word in WORDS}) == 256
    assert all(word.isascii() and word.islower() and word.isalpha() for word in WORDS)
    assert WORD_COUNT * 8 >= 66


def test_the_words_of_a_key_never_change():
    words = "noodle-lantern-saturn-kettle-lemon-empire-jigsaw-golden-mustard"
    assert fingerprint_words(MARK) == words
    assert fingerprint_words(MARK.replace("-", " ")) == words
    assert len(fingerprint_words(MARK).split("-")) == WORD_COUNT


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_two_keys_share_words_only_if_they_share_72_bits(one, other):
    same = fingerprint_words(one.hex()) == fingerprint_words(other.hex())
    assert same == (one[:9] == other[:9])


@pytest.mark.parametrize("change", [str.upper, lambda t: t.replace("-", ", "), lambda t: f" {t}\n"])
@pytest.mark.parametrize("code", [MARK, fingerprint_words(MARK)])
def test_a_code_is_taken_however_a_person_types_it(code, change):
    assert same_code(change(code), fingerprint=MARK)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "-",
        MARK[:-1],
        MARK[:4],
        fingerprint_words(MARK).rsplit("-", 1)[0],
        fingerprint_words(MARK) + "-acid",
        fingerprint_words("0" * 32),
    ],
)
def test_part_of_a_code_or_another_one_is_not_the_code(typed):
    assert not same_code(typed, fingerprint=MARK)
