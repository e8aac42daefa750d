"""The accuracy page and README say what the committed measurement says, and nothing else."""

import json
from pathlib import Path

from orchestrator.accuracy_tables import table

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "docs/accuracy/accuracy.json").read_text())


def test_the_table_is_that_of_the_measurement():
    assert table(FOUND["summary"]) in (ROOT / "docs/accuracy.md").read_text()


def test_the_summary_follows_from_the_rows():
    for line in FOUND["summary"]:
        key = (line["recipe"], line["partition"], line["epsilon"])
        rows = [r for r in FOUND["rows"] if (r["recipe"], r["partition"], r["epsilon"]) == key]
        assert len(rows) == line["seeds"] == 10
        mean = sum(row["accuracy"] for row in rows) / len(rows)
        assert abs(mean - line["accuracy"]["mean"]) < 1e-4


def test_readme_quotes_it():
    readme = (ROOT / "README.md").read_text()
    for epsilon in (8.0, 3.0, 1.0, None):
        (line,) = [
            each
            for each in FOUND["summary"]
            if (each["partition"], each["epsilon"]) == ("IID", epsilon)
        ]
        value = line["accuracy"]
        assert f"{value['mean']:.3f} ± {value['deviation']:.3f}" in readme
