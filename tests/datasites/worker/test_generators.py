"""Adapting a generator with DP: right gradients, frozen parameters, and draws that cost nothing.

Proven for every choice of what is trained: the gradient that is clipped is that of one image's loss
averaged over its timesteps, computed alone; what is not trained leaves as it came, bit for bit; the
event is that of the plan's steps, however many timesteps each averages.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasites.plans import GeneratorPart
from datasites.plans.costs import generator_event
from datasites.worker.generators import adapt_generator, draw_images, open_generator
from models import read_generator_card
from privacy.grad_sample import check_rows, check_sums, per_sample, trainable

CLASSES = ("glioma", "notumor")


def _part(**fields: object) -> GeneratorPart:
    base = {
        "steps": 2,
        "sampling_rate": 0.5,
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "learning_rate": 1e-3,
        "start": "phantoms",
        "start_sha256": read_generator_card().sha256,
        "trains": "lora",
        "rank": 2,
        "draws": 2,
        "images_per_class": 1,
        "sampling_steps": 2,
    }
    return GeneratorPart.model_validate(base | fields)


SCRATCH = {"start": "scratch", "start_sha256": None, "trains": "all", "image_size": 16}
KINDS = pytest.mark.parametrize(
    "fields",
    [{"trains": "lora"}, {"trains": "norms"}, {"trains": "all"}, SCRATCH],
    ids=["lora", "norms", "all", "scratch"],
)


@KINDS
def test_per_image_gradients_of_averaged_draws_are_those_of_each_image_alone(shard, fields):
    part = _part(**fields)
    made = open_generator(part, classes=CLASSES)
    with torch.no_grad():  # so that no gradient is zero because its other half is
        for name, parameter in made.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
    prepared = made.prepare(shard.images[:3])
    labels = torch.tensor([0, 1, 1])

    def losses() -> torch.Tensor:
        same = torch.Generator().manual_seed(7)
        return made.losses(made.network, prepared, labels, generator=same, draws=3)

    named = trainable(made.network)
    whole = losses()
    alone = [
        torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
        for loss in whole
    ]
    wrapped = per_sample(made.network)
    try:
        losses().sum().backward()
        check_rows(made.network, n_images=3)
        check_sums(made.network)
        for at, (name, parameter) in enumerate(named.items()):
            for row, truth in enumerate(alone):
                wanted = torch.zeros_like(parameter) if truth[at] is None else truth[at]
                error = (parameter.grad_sample[row] - wanted).norm()
                assert error <= 1e-4 * wanted.norm() + 1e-6, (name, row)
    finally:
        wrapped.unwrap()


@KINDS
def test_what_is_not_trained_stays_bit_for_bit_and_the_rest_is_noised(shard, fields):
    part = _part(**fields)
    made = open_generator(part, classes=CLASSES)
    before = {name: p.detach().clone() for name, p in made.network.named_parameters()}
    result = adapt_generator(
        made,
        part,
        images=shard.images,
        labels=shard.labels,
        units=shard.units,
        published_units=8.0,
    )
    assert result.steps_taken == part.steps
    learnt = set(made.adapted())
    changed = {n for n, p in made.network.named_parameters() if not torch.equal(p, before[n])}
    # Noise reaches every coordinate, also where no gradient does.
    assert changed == learnt
    if fields.get("trains") in ("lora", "norms"):
        assert sum(before[n].numel() for n in learnt) < 0.1 * sum(
            p.numel() for p in before.values()
        )


@pytest.mark.parametrize("draws", [1, 3])
def test_draws_cost_nothing(plan, shard, draws):
    part = _part(draws=draws, **SCRATCH)
    made = open_generator(part, classes=CLASSES)
    result = adapt_generator(
        made,
        part,
        images=shard.images,
        labels=shard.labels,
        units=shard.units,
        published_units=8.0,
    )
    whole = plan.model_copy(update={"generator": part})
    assert result.event == generator_event(whole)
    bare = plan.model_copy(update={"generator": _part(draws=1, **SCRATCH)})
    assert result.event == generator_event(bare)


def test_images_of_each_class_are_drawn_at_the_plan_s_size():
    part = _part(images_per_class=3, sampling_steps=1)
    images, labels = draw_images(open_generator(part, classes=CLASSES), part, classes=2)
    assert (images.shape, images.dtype) == ((6, 32, 32), np.uint8)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
