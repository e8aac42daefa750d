"""The `study.toml` that `dura study init` writes: every setting, said in a comment."""

from __future__ import annotations

from collections.abc import Sequence

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
name = "{model}"          # small_cnn, resnet18, or model.py (interpreted, never executed)
image_size = 64

[train]                     # DP-SGD at each hospital, one task a round
steps = {steps}
sampling_rate = {rate}         # probability with which each unit enters a step
clipping_norm = 1.0
learning_rate = {learning_rate}
learning_rate_range = {{ low = 0.0, high = 8.0 }}
momentum = {momentum}
augment = true
synthetic_weight = {synthetic}      # weight of the loss on DP-synthetic images

[privacy]                   # asked of each hospital, per privacy unit, add or remove one
epsilon = {epsilon}
delta = {delta}
generator_share = 0.3       # of epsilon, what the generator alone may cost
metrics_share = 0.2         # of epsilon, what the noised test figures alone may cost

[generator]                 # diffusion, trained with DP on the shard; images stay there
steps = {generator_steps}
sampling_rate = 0.15
clipping_norm = 1.0
learning_rate = 0.002
image_size = 16
images_per_class = 16
sampling_steps = 10

[reports]
score_bins = 8              # steps of the noised score histograms, from which ROC and AUC come
cases = 2                   # case reports each hospital drafts; its owner decides on each

[strategy]
name = "fedavg"             # fedprox, fedadam, fedmedian, fedtrimmedavg, krum, multikrum, bulyan
"""


def study_template(
    *,
    name: str,
    email: str,
    relay: str,
    hospitals: Sequence[str],
    epsilon: float,
    delta: float,
    rounds: int,
    model: str,
) -> str:
    """The text of a new study's file."""
    return _TEMPLATE.format(
        name=name,
        email=email,
        relay=relay,
        hospitals=", ".join(f'"{site}"' for site in hospitals),
        quorum=max(1, (len(hospitals) + 1) // 2),
        rounds=rounds,
        model=model,
        steps=24,
        rate=0.3,
        learning_rate=0.5,
        momentum=0.9,
        synthetic=0.05,
        epsilon=float(epsilon),
        delta=delta,
        generator_steps=8,
    )
