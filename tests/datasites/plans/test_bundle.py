"""A bundle is exactly its bytes: one flipped byte gives another hash, or no bundle at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.errors import PlanError
from datasites.plans import MODEL_FILE, PLAN_FILE, make_bundle, open_bundle


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
