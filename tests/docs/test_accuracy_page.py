"""The accuracy page and README say what the committed measurements say, and nothing else."""

import json
from pathlib import Path

import pytest

from orchestrator.bench.tables import table

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/accuracy.md").read_text()
README = (ROOT / "README.md").read_text()
SEEDS = {"accuracy": 10, "tuned": 2, "heads": 10, "ablation": 3, "recipes": 1}
FOUND = {name: json.loads((ROOT / f"docs/accuracy/{name}.json").read_text()) for name in SEEDS}


def of(name, **wanted):
    """Mean and deviation of one line of a measurement, as the documents write them."""
    (line,) = [
        each for each in FOUND[name]["summary"] if all(each[k] == v for k, v in wanted.items())
    ]
    return f"{line['accuracy']['mean']:.3f} ± {line['accuracy']['deviation']:.3f}"


@pytest.mark.parametrize("name", SEEDS)
def test_the_page_has_the_table_of_a_measurement_and_names_its_file(name):
    assert table(FOUND[name]["summary"]) in PAGE
    assert f"(accuracy/{name}.json)" in PAGE
    assert FOUND[name]["judged_on"] == "held-out images"


@pytest.mark.parametrize("name", SEEDS)
def test_a_summary_follows_from_its_rows(name):
    for line in FOUND[name]["summary"]:
        key = (line["recipe"], line["partition"], line["epsilon"])
        rows = [
            r for r in FOUND[name]["rows"] if (r["recipe"], r["partition"], r["epsilon"]) == key
        ]
        assert len(rows) == line["seeds"] == SEEDS[name]
        mean = sum(row["accuracy"] for row in rows) / len(rows)
        assert abs(mean - line["accuracy"]["mean"]) < 1e-4


@pytest.mark.parametrize("partition", ["IID", "Dirichlet 0.5", "Dirichlet 0.1"])
def test_readme_quotes_the_curve(partition):
    figures = [of("accuracy", partition=partition, epsilon=e) for e in (8.0, 3.0, 1.0, None)]
    assert f"| {partition} | {' | '.join(figures)} |" in README


def test_readme_quotes_what_noise_takes():
    found = {line["recipe"].partition(", ")[2] for line in FOUND["tuned"]["summary"]}
    passes, steps = sorted(found - {"FedProx"})
    named = "encoder's late blocks trained along, {}".format
    for partition in ("IID", "Dirichlet 0.1"):
        assert of("tuned", recipe=named(passes), partition=partition) in README
    assert of("tuned", recipe=named(steps)) in README


@pytest.mark.parametrize("how", ["DP-FedAvg", "DP-SCAFFOLD"])
def test_readme_quotes_what_unlike_hospitals_take_from_local_steps(how):
    name = f"linear head on the frozen encoder, {how}"
    assert of("heads", recipe=name, partition="Dirichlet 0.1") in README
