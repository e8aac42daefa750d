"""The `study.toml` that `dura study init` writes: every setting, said in a comment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

_TEMPLATE = """\
# A Dura study. `dura study check` says what it costs; `submit` sends it to the hospitals.
version = 1
name = "{name}"
researcher = "{email}"
relay = "{relay}"
hospitals = [{hospitals}]
quorum = {quorum}                  # fewest usable updates a round needs
round_timeout_s = 3600.0
seed = 0                    # of the initial weights; noise is never seeded from here
classes = ["glioma", "meningioma", "notumor", "pituitary"]
rounds = {rounds}

[model]
name = "{model}"          # small_cnn, resnet18, encoder_head (linear, on the shipped encoder
                            # or on `encoder`), or model.py (interpreted, never executed)
image_size = {image_size}
{encoder}
[train]                     # DP-SGD at each hospital, one task a round
steps = {steps}
sampling_rate = {rate}         # probability with which each unit enters a step
clipping_norm = {clipping_norm}
learning_rate = {learning_rate}
learning_rate_range = {{ low = 0.0, high = {highest} }}
momentum = {momentum}
augment = {augment}
views = {views}                   # augmentations of an image that a step averages; no epsilon
synthetic_weight = {synthetic}      # weight of the loss on DP-synthetic images

[privacy]                   # asked of each hospital, per privacy unit, add or remove one
epsilon = {epsilon}
delta = {delta}
generator_share = 0.3       # of epsilon, what the generator alone may cost
metrics_share = 0.2         # of epsilon, what the noised test figures alone may cost
{generator}
[reports]
score_bins = 8              # steps of the noised score histograms, from which ROC and AUC come
cases = 2                   # case reports each hospital drafts; its owner decides on each
hospitals = []              # a name for each hospital: tells every hospital who takes part, and
                            # the report on the global model then gives each one's share

[strategy]
name = "fedavg"             # fedprox, fedadam, fedmedian, fedtrimmedavg, krum, multikrum, bulyan
average_last = {averaged}            # rounds whose weights are averaged into the final model
"""

_ENCODER = """\
encoder = {}
                            # your copy; the plan names its hash only, hospitals hold their own
"""
_GENERATOR = """
[generator]                 # diffusion, adapted with DP on the shard; images stay there
start = "phantoms"          # weights that ship with Dura and saw drawings only; or "scratch"
trains = "lora"             # low-rank additions; "norms"; "all" (and always "all" from scratch)
rank = 4                    # of the additions
steps = 4
sampling_rate = 0.15
clipping_norm = 1.0
learning_rate = 0.002
draws = 2                   # timesteps of an image that one step averages; cost no epsilon
image_size = 32             # of the generator that starts from phantoms
images_per_class = 16
sampling_steps = 10
pooled = false              # true: owners may release their generators, and every hospital draws
                            # from the others' as well: no further epsilon; each waits for its owner
"""
_SYNTHETIC_WEIGHT = 0.05


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the template gives a kind of model; names are those of `study.toml`.

    Attributes:
        generator: whether a generator is trained and its images are mixed in.
        averaged: share of the rounds, the last ones, whose weights are averaged.
    """

    model: str
    image_size: int
    steps: int
    rate: float
    clipping_norm: float
    learning_rate: float
    highest: float
    momentum: float
    augment: str
    views: int
    generator: bool
    rounds: int
    averaged: float

    def fields(self) -> dict[str, object]:
        """The values by their names in the template."""
        return asdict(self) | {
            "generator": _GENERATOR if self.generator else "",
            "synthetic": _SYNTHETIC_WEIGHT if self.generator else 0.0,
            "averaged": max(1, round(self.averaged * self.rounds)),
        }


_WHOLE_NETWORK = Recipe(
    model="small_cnn",
    image_size=64,
    steps=24,
    rate=0.3,
    clipping_norm=1.0,
    learning_rate=0.5,
    highest=8.0,
    momentum=0.9,
    augment="true",
    views=1,
    generator=True,
    rounds=4,
    averaged=0.0,
)
# DP-FedSGD: one full-batch step a round, whose mean over hospitals does not depend on how the data
# lie between them. Large steps, because features have length 1 and a small clip bounds each unit.
# No generator: its images would cost epsilon, and a linear head has few weights to learn.
FROZEN_ENCODER = Recipe(
    model="encoder_head",
    image_size=160,
    steps=1,
    rate=1.0,
    clipping_norm=0.3,
    learning_rate=120.0,
    highest=400.0,
    momentum=0.0,
    augment="false",
    views=1,
    generator=False,
    rounds=40,
    averaged=0.25,
)


_BY_EPSILON = ((5.0, 40, 120.0), (2.0, 40, 90.0), (0.0, 16, 75.0))
"""From this epsilon on: rounds and learning rate of the head; more noise wants fewer steps.

Chosen on the validation part that `dura bench accuracy --validation` judges on, at epsilon 8, 3
and 1, by a sweep that is not kept.
"""


def recipe_for(
    model: str = FROZEN_ENCODER.model,
    *,
    epsilon: float = 8.0,
    rounds: int | None = None,
    generator: bool | None = None,
) -> Recipe:
    """The recipe of a classifier for a study's epsilon; None leaves a choice to it."""
    base = _WHOLE_NETWORK
    if model == FROZEN_ENCODER.model:
        count, rate = next((n, rate) for least, n, rate in _BY_EPSILON if epsilon >= least)
        base = replace(FROZEN_ENCODER, rounds=count, learning_rate=rate)
    return replace(
        base,
        model=model,
        rounds=base.rounds if rounds is None else rounds,
        generator=base.generator if generator is None else generator,
    )


def study_template(
    *,
    name: str,
    email: str,
    relay: str,
    hospitals: Sequence[str],
    epsilon: float,
    delta: float,
    recipe: Recipe,
    encoder: str = "",
) -> str:
    """The text of a new study's file; `encoder` is the folder of one, empty for the shipped one."""
    return _TEMPLATE.format(
        **recipe.fields(),
        encoder=_ENCODER.format(json.dumps(encoder, ensure_ascii=False)) if encoder else "",
        name=name,
        email=email,
        relay=relay,
        hospitals=", ".join(f'"{site}"' for site in hospitals),
        quorum=max(1, (len(hospitals) + 1) // 2),
        epsilon=float(epsilon),
        delta=delta,
    )
