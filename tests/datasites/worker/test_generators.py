"""Adapting a generator with DP: right gradients, frozen parameters, and draws that cost nothing.

Proven for every choice of what is trained: the gradient that is clipped is that of one image's loss
averaged over its timesteps, computed alone; what is not trained leaves as it came, bit for bit; the
event is that of the plan's steps, however many timesteps each averages.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasites.plans import GeneratorPart, StableDiffusionPart
from datasites.plans.events import generator_event
from datasites.worker.generators import adapt_generator, draw_images, open_generator
from models import WeightsError, checkpoint_sha256, read_generator_card
from privacy.training.grad_sample import check_rows, check_sums, per_sample, trainable

CLASSES = ("glioma", "notumor")


def _part(**fields: object) -> GeneratorPart | StableDiffusionPart:
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
    if fields.get("kind") == "stable_diffusion":
        for name in ("start", "start_sha256", "trains"):
            del base[name]
        return StableDiffusionPart.model_validate(base | fields)
    return GeneratorPart.model_validate(base | fields)


@pytest.fixture(scope="module")
def checkpoint(tiny_stable):
    return {"folder": tiny_stable, "sha256": checkpoint_sha256(tiny_stable)}


def _opened(fields, checkpoint):
    """The part with these fields, and the generator it names."""
    if fields.get("kind") == "stable_diffusion":
        fields = {**fields, "checkpoint_sha256": checkpoint["sha256"]}
    part = _part(**fields)
    return part, open_generator(part, classes=CLASSES, checkpoint=checkpoint["folder"])


STABLE = {"kind": "stable_diffusion", "image_size": 16, "prompt": "a brain with {class}"}
SCRATCH = {"start": "scratch", "start_sha256": None, "trains": "all", "image_size": 16}
KINDS = pytest.mark.parametrize(
    "fields",
    [{"trains": "lora"}, {"trains": "norms"}, {"trains": "all"}, SCRATCH, STABLE],
    ids=["lora", "norms", "all", "scratch", "stable diffusion"],
)


@KINDS
def test_per_image_gradients_of_averaged_draws_are_those_of_each_image_alone(
    shard, fields, checkpoint
):
    _, made = _opened(fields, checkpoint)
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
def test_what_is_not_trained_stays_bit_for_bit_and_the_rest_is_noised(shard, fields, checkpoint):
    part, made = _opened(fields, checkpoint)
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
    if fields.get("trains") in ("lora", "norms"):  # the tiny Stable Diffusion is all attention
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


def test_a_stable_diffusion_plan_without_a_checkpoint_says_what_to_set(checkpoint):
    part = _part(**STABLE, checkpoint_sha256=checkpoint["sha256"])
    with pytest.raises(WeightsError, match="generator_checkpoint"):
        open_generator(part, classes=CLASSES)
    other = _part(**STABLE, checkpoint_sha256="0" * 64)
    with pytest.raises(WeightsError, match="plan starts from"):
        open_generator(other, classes=CLASSES, checkpoint=checkpoint["folder"])


def test_a_large_network_holds_the_gradients_of_few_images_at_once(checkpoint):
    """As many as one unit may have, at the least: a unit is never split."""
    _, small = _opened(SCRATCH, checkpoint)
    _, stable = _opened(STABLE, checkpoint)
    assert 8 == stable.images_at_once < small.images_at_once
