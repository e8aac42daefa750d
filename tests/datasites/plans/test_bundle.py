"""A bundle is exactly its bytes: one flipped byte gives another hash, or no bundle at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.errors import PlanError
from datasites.plans import MODEL_FILE, PLAN_FILE, make_bundle, open_bundle, parse_plan


@given(data=st.data())
def test_any_flipped_byte_changes_the_hash_or_is_refused(bundle, data):
    raw = bytearray(bundle.files[PLAN_FILE])
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = open_bundle({PLAN_FILE: bytes(raw)})
    except PlanError:
        return
    assert changed.sha256 != bundle.sha256


def test_a_model_file_is_part_of_the_hash(plan):
    own = plan.model_copy(update={"model": plan.model.model_copy(update={"name": MODEL_FILE})})
    one, other = make_bundle(own, "a = 1\n"), make_bundle(own, "a = 2\n")
    assert one.sha256 != other.sha256
    assert one.model_text == "a = 1\n"


def test_a_model_file_comes_if_and_only_if_the_plan_names_it(plan, bundle):
    with pytest.raises(PlanError, match="must not come"):
        make_bundle(plan, "a = 1")
    own = plan.model_copy(update={"model": plan.model.model_copy(update={"name": MODEL_FILE})})
    with pytest.raises(PlanError, match="must come"):
        make_bundle(own, None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no plan.json"),
        ({"plan.json": b"{}", "run.sh": b""}, "run.sh"),
        ({"plan.json": b"{" * 300_000}, "at most"),
        ({"plan.json": b"\xff\xfe"}, "UTF-8"),
    ],
)
def test_what_is_not_a_bundle_is_refused(files, message):
    with pytest.raises(PlanError, match=message):
        open_bundle(files)


OTHER_BYTES = {
    "a key twice": lambda raw: raw.replace(b'"rounds": 3', b'"rounds": 1,\n  "rounds": 3'),
    "a key twice, written over": lambda raw: raw.replace(
        b'"rounds": 3', b'"rounds": 3,\r  "rounds": 3'
    ),
    "carriage returns": lambda raw: raw.replace(b"\n", b"\r\n"),
    "spaces": lambda raw: raw.replace(b'": ', b'" : ', 1),
    "one line": lambda raw: json.dumps(json.loads(raw), sort_keys=True).encode(),
    "another order": lambda raw: (
        json.dumps(dict(reversed(json.loads(raw).items())), indent=2) + "\n"
    ).encode(),
    "bytes after it": lambda raw: raw + b"\n",
    "no last line end": lambda raw: raw[:-1],
    "an escape for a letter": lambda raw: raw.replace(b'"study"', b'"\\u0073tudy"'),
    "a default left out": lambda raw: (
        json.dumps(
            {key: value for key, value in json.loads(raw).items() if key != "version"},
            indent=2,
            sort_keys=True,
        )
        + "\n"
    ).encode(),
    "a number written in another way": lambda raw: raw.replace(b"0.001", b"1e-3", 1),
}


@pytest.mark.parametrize("how", OTHER_BYTES)
def test_a_plan_is_refused_unless_its_bytes_are_the_canonical_ones(bundle, how):
    raw = OTHER_BYTES[how](bundle.files[PLAN_FILE])
    assert raw != bundle.files[PLAN_FILE]
    if "twice" in how:  # to one reader it is this plan, to another perhaps not
        assert json.loads(raw) == json.loads(bundle.files[PLAN_FILE])
        with pytest.raises(PlanError, match="'rounds' comes twice"):
            open_bundle({PLAN_FILE: raw})
        return
    assert parse_plan(raw) == bundle.plan  # it is a plan, and this one: only its bytes differ
    with pytest.raises(PlanError, match=r"line \d+ is .*canonical form is .*dura study submit"):
        open_bundle({PLAN_FILE: raw})


@given(data=st.data())
def test_no_two_sequences_of_bytes_are_one_plan(bundle, data):
    raw = bundle.files[PLAN_FILE]
    place = data.draw(st.integers(0, len(raw)))
    more = data.draw(st.sampled_from([b" ", b"\n", b"\r", b"\t", b'"rounds":2,', b"\xef\xbb\xbf"]))
    try:
        other = open_bundle({PLAN_FILE: raw[:place] + more + raw[place:]})
    except PlanError:
        return
    assert other.plan != bundle.plan  # a space within a class name, say
