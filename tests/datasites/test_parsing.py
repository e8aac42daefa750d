"""Documents and settings from outside: bounded, whole, once; numbers have floors and ceilings."""

import json

import pydantic
import pytest

from datasites.errors import PlanError, SettingsError
from datasites.plans import GeneratorPart, ReportPart, TrainPart, TrainTask, parse_task
from datasites.plans.parse import MAX_DOCUMENT_BYTES, UtcTime, parse_as, read_toml
from datasites.plans.plan import Range
from datasites.site.settings import SETTINGS_FILE, read_settings

TASK = {
    "kind": "train",
    "request": "q",
    "plan_sha256": "0" * 64,
    "round": 1,
    "weights_sha256": "0" * 64,
    "steps": 1,
    "learning_rate": 0.5,
}


def test_a_task_is_read():
    assert parse_task(json.dumps(TASK).encode()).request == "q"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (json.dumps(TASK).encode()[:-1] + b', "round": 2}', "'round' comes twice"),
        (json.dumps(TASK).encode()[:-1] + b', "zz": 2}', "zz"),
        (json.dumps(TASK | {"learning_rate": float("nan")}).encode(), "learning_rate"),
        (json.dumps(TASK | {"learning_rate": float("inf")}).encode(), "learning_rate"),
        (json.dumps(TASK | {"learning_rate": 1e308}).encode(), "learning_rate"),
        (json.dumps(TASK | {"round": True}).encode(), "round"),
        (json.dumps(TASK | {"round": "1"}).encode(), "round"),
        (json.dumps(TASK | {"round": 10**400}).encode(), "round"),
        (b"[" * 100_000, "recursion"),
        (b" " * (MAX_DOCUMENT_BYTES + 1), "bytes"),
        (b"\xff", "json"),
    ],
)
def test_what_is_spoiled_is_one_short_error(data, said):
    with pytest.raises(PlanError, match=said) as found:
        parse_task(data)
    assert len(str(found.value)) < 1_000


def test_a_nan_that_no_field_looks_at_is_none_either():
    with pytest.raises(PlanError, match="NaN is no number"):
        parse_as(pydantic.TypeAdapter(dict[str, float]), b'{"a": NaN}', what="table")


@pytest.mark.parametrize(
    "time",
    [
        "",
        "tomorrow",
        "2026-06-01",
        "2026-06-01T00:00:00",
        "2026-06-01T00:00:00+02:00",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-06-01T00:00:00Z" + " " * 40,
    ],
)
def test_a_time_is_utc_and_of_these_centuries(time):
    with pytest.raises(PlanError):
        parse_as(pydantic.TypeAdapter(UtcTime), json.dumps(time).encode(), what="time")


@pytest.mark.parametrize(
    "text",
    [
        "quorum = " + "9" * 5_000,
        "quorum = " + "[" * 3_000 + "]" * 3_000,
        "quorum = 1\nquorum = 2",
        "quorum = ",
        "#" * (1024 * 1024 + 1),
        "\udcff",
    ],
)
def test_broken_settings_are_one_sentence_that_names_the_file(tmp_path, text):
    path = tmp_path / SETTINGS_FILE
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(PlanError, match=SETTINGS_FILE):
        read_toml(path)
    with pytest.raises(SettingsError, match="mend it by hand"):
        read_settings(tmp_path)


TRAIN = {
    "steps": 1,
    "sampling_rate": 0.5,
    "noise_multiplier": 1.0,
    "clipping_norm": 1.0,
    "learning_rate": Range(low=0.0, high=1.0),
}
GENERATOR = {**TRAIN, "learning_rate": 1e-3}
BEYOND = {
    "steps": [0, -1, 10**9],
    "sampling_rate": [0.0, 1e-300, 7.5e-46, 1.1],
    "noise_multiplier": [0.0, 1e-300, 7.5e-46, 0.01, 1e5, 1e300],
    "clipping_norm": [0.0, 1e-300, 7.5e-46, 1e-7, 1e7, 1e300],
}
ODD = [float("nan"), float("inf"), -1.0, 1e308, 10**400]


@pytest.mark.parametrize("part", [TrainPart, GeneratorPart])
@pytest.mark.parametrize("name", BEYOND)
def test_numbers_of_a_part_have_floors_and_ceilings(part, name):
    given = TRAIN if part is TrainPart else GENERATOR
    part(**given)
    for value in [*BEYOND[name], *ODD]:
        with pytest.raises(pydantic.ValidationError):
            part(**{**given, name: value})


def test_so_have_learning_rates_and_the_noise_on_test_figures():
    for value in [*ODD, 1e7]:
        with pytest.raises(pydantic.ValidationError):
            Range(low=0.0, high=value)
    for value in [*ODD, 0.0, 1e-300, 1e4]:
        with pytest.raises(pydantic.ValidationError):
            GeneratorPart(**{**GENERATOR, "learning_rate": value})
    for value in [*ODD, 0.0, 7.5e-46, 1e300]:
        with pytest.raises(pydantic.ValidationError):
            ReportPart(cases=1, metrics_noise_multiplier=value)
    for value in [*ODD, 1e7]:
        with pytest.raises(pydantic.ValidationError):
            TrainTask(**{**TASK, "learning_rate": value})
