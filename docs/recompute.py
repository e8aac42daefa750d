"""Recompute every hospital's epsilon from `dura audit report --json`, with dp-accounting alone.

pip install dp-accounting; python recompute.py report.json

Prints hospital, the filter's epsilon (docs/privacy.md), what the report says, and epsilon as if all
plans had been fixed beforehand, and what the report says.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import PLDAccountant
from scipy.special import log_ndtr, ndtr


def rebuild(fields):
    """An event from its JSON form."""
    inner = {name: value for name, value in fields.items() if not name.endswith("_name")}
    if "event" in inner:
        inner["event"] = rebuild(inner["event"])
    inner |= {"events": [rebuild(e) for e in inner["events"]]} if "events" in inner else {}
    return getattr(dp_event, fields["class_name"])(**inner)


def composed(events, interval):
    """Their loss distribution."""
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, interval)
    for event in events:
        accountant.compose(rebuild(event))
    return accountant


def full_batch(event, count=1):
    """The sum of 1 / z**2 of an event's full-batch Gaussians (sampled at rate 1 is full batch)."""
    kind, inner = event["class_name"], event.get("event", {})
    if kind == "ComposedDpEvent":
        return sum(full_batch(each, count) for each in event["events"])
    if kind == "SelfComposedDpEvent":
        return full_batch(inner, count * event["count"])
    if kind == "PoissonSampledDpEvent":
        return full_batch(inner, count) if event["sampling_probability"] == 1 else 0.0
    return count / event["noise_multiplier"] ** 2 if kind == "GaussianDpEvent" else 0.0


def curve(loss, mu):
    """Delta of one Gaussian of shift mu."""
    return ndtr(mu / 2 - loss / mu) - np.exp(loss + log_ndtr(-mu / 2 - loss / mu))


def smallest(enough, high):
    """The smallest number that is enough."""
    low = 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def shift(block, share):
    """The smallest shift of a Gaussian that dominates a block but for `share`."""
    own = composed([block["event"]], block["interval"])
    loss = np.linspace(0, own.get_epsilon(share - block["lost"]), 20_000)
    need = (own.get_delta(loss[:-1]) + block["lost"] - share) / (1 - share)
    return smallest(lambda mu: bool(np.all(curve(loss[1:], mu) >= need)), 30.0)


for name, site in json.loads(Path(sys.argv[1]).read_text())["sites"].items():
    if not site["chain"]["verified"]:
        sys.exit(f"{name}: its ledger does not hold, so there is nothing to recompute")
    spent, told = [each for each in site["events"] if each["counts"]], site["filter"]
    names = {each["block"] for each in spent} - {""}
    squares = [shift(told["blocks"][block], told["share"]) ** 2 for block in names]
    mu = math.sqrt(sum(squares) + sum(full_batch(each["event"]) for each in spent))
    late = smallest(lambda loss: curve(loss, mu) <= told["delta"], 500.0) if mu else 0.0  # noqa: B023
    fixed = composed([e["event"] for e in spent], site["interval"])
    epsilon = fixed.get_epsilon(site["delta_evaluated"])
    print(f"{name}\t{late:.4f}\t{site['epsilon']}\t{epsilon:.4f}\t{site['epsilon_if_fixed']}")
