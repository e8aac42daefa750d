"""The `study.toml` that `dura study init` writes: every setting, said in a comment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from orchestrator.study.recipes import Recipe

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

[model]                     # encoder_head (on the shipped encoder, or on `encoder`), small_cnn,
                            # resnet18, or model.py (interpreted, never executed)
name = "{model}"
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
views = 1                   # augmentations of an image that a step averages; no epsilon
synthetic_weight = {synthetic}      # weight of the loss on DP-synthetic images

[privacy]                   # asked of each hospital, per privacy unit, add or remove one
epsilon = {epsilon}
delta = {delta}
generator_share = 0.3       # of epsilon, what the generator alone may cost
metrics_share = 0.2         # of epsilon, what the noised test figures alone may cost
{generator}
[reports]
score_bins = 8              # steps of the noised score histograms, from which ROC and AUC come
cases = 2                   # slots for case reports; chance fills them, the owner decides on each
hospitals = []              # a name for each hospital: tells every hospital who takes part, and
                            # the report on the global model then gives each one's share

[slots]                     # seconds from the start of a job to its answer, however long it works;
                            # one that is not done by then leaves noise alone, at the same cost
first_train_s = {first_train_s}         # a hospital's first round, which computes frozen features
train_s = {train_s}               # every later round
generate_s = {generate_s}
pool_s = {pool_s}
report_s = {report_s}

[strategy]
# fedavg, fedprox, scaffold, fedadam, fedmedian, fedtrimmedavg, krum, multikrum, bulyan
name = "{strategy}"
{server}average_last = {averaged}            # rounds whose weights the final model is the mean of
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
_SERVER = "server_learning_rate = {}  # Adam's step at the server\n"


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
        **_fields(recipe),
        encoder=_ENCODER.format(json.dumps(encoder, ensure_ascii=False)) if encoder else "",
        name=name,
        email=email,
        relay=relay,
        hospitals=", ".join(f'"{site}"' for site in hospitals),
        quorum=max(1, (len(hospitals) + 1) // 2),
        epsilon=float(epsilon),
        delta=delta,
    )


def _fields(recipe: Recipe) -> dict[str, object]:
    """A recipe's values by their names in the template."""
    server = recipe.server_learning_rate
    return asdict(recipe) | {
        "augment": str(recipe.augment).lower(),
        "generator": _GENERATOR if recipe.generator else "",
        "synthetic": _SYNTHETIC_WEIGHT if recipe.generator else 0.0,
        "averaged": max(1, round(recipe.averaged * recipe.rounds)),
        "server": "" if server is None else _SERVER.format(server),
    }
