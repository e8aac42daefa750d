"""The accuracy page and README say what the committed measurement says, and nothing else."""

import json
from pathlib import Path

import pytest

from orchestrator.accuracy_tables import table

ROOT = Path(__file__).parents[2]
CURVE, ABLATION = (
    json.loads((ROOT / f"docs/accuracy/{name}.json").read_text())
    for name in ("accuracy", "ablation")
)


@pytest.mark.parametrize("found", [CURVE, ABLATION])
def test_the_table_is_that_of_the_measurement(found):
    assert table(found["summary"]) in (ROOT / "docs/accuracy.md").read_text()
    assert found["judged_on"] == "held-out images"


@pytest.mark.parametrize(("found", "seeds"), [(CURVE, 10), (ABLATION, 3)])
def test_the_summary_follows_from_the_rows(found, seeds):
    for line in found["summary"]:
        key = (line["recipe"], line["partition"], line["epsilon"])
        rows = [r for r in found["rows"] if (r["recipe"], r["partition"], r["epsilon"]) == key]
        assert len(rows) == line["seeds"] == seeds
        mean = sum(row["accuracy"] for row in rows) / len(rows)
        assert abs(mean - line["accuracy"]["mean"]) < 1e-4


def test_readme_quotes_it():
    readme = (ROOT / "README.md").read_text()
    for epsilon in (8.0, 3.0, 1.0, None):
        (line,) = [
            each
            for each in CURVE["summary"]
            if (each["partition"], each["epsilon"]) == ("IID", epsilon)
        ]
        value = line["accuracy"]
        assert f"{value['mean']:.3f} ± {value['deviation']:.3f}" in readme
