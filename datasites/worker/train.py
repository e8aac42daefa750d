"""One round of DP training of the classifier, from global weights to this hospital's weights.

Noise and unit sampling are seeded from the operating system, never from the plan. The model is
built, and a `model.py` compared with one unit at a time on random images, before a shard is opened:
a check on private images would fail or not by what they show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites.plans import Plan, TrainTask
from datasites.worker.files import AnyShard, JobFiles
from datasites.worker.protocol import FEATURES, MOST_FEATURES, Job
from models import (
    AugmentSettings,
    FrozenStart,
    WeightsError,
    build_model,
    encoder_sha256,
    normalise,
    weights_from_bytes,
    weights_to_bytes,
)
from privacy import (
    DpSgdSettings,
    KeyStream,
    Sgd,
    check_gradients,
    os_generator,
    os_noise,
    train_dp,
)

SYNTHETIC_BATCH = 32
MOST_IMAGES, MOST_ROWS, MOST_KEPT_ROWS = 8, 64, 256
"""Images of one unit that a step uses; rows (images times views) held in memory at once, and rows
of kept features, which take hardly any."""
_IMAGES_EXPECTED = 2  # of a unit, where room for features is reckoned


def warm_up() -> None:
    """Nothing is left to do: with this module all that a step needs was imported.

    Not augmentation: torchvision takes a second and a half, and the default plan has none.
    """


def run(files: JobFiles) -> int:
    """Train one round; returns the steps taken."""
    job = files.job
    task = job.task
    if not isinstance(task, TrainTask):
        raise TypeError(f"a train job needs a train task, not {task.kind}")
    model, start = files.once(_start)
    model.load_state_dict(start)
    shard = files.training_shard()
    kept = _kept(model, job)
    settings = _settings(job, task, kept=kept)
    result = train_dp(
        model,
        losses=_losses(files, model, shard, kept=kept),
        units=as_tensor(shard.units).repeat_interleave(_views(job.plan)),
        settings=settings,
        optimizer=lambda parameters: Sgd(
            parameters, lr=task.learning_rate, momentum=job.plan.train.momentum
        ),
        sampling=KeyStream(),
        noise=os_noise(),
        public_rows=public_rows(
            model,
            size=shard.image_size,
            classes=len(job.plan.classes),
            rows=settings.rows,
            kept=kept,
        ),
        public_loss=_public_loss(files, model, task),
    )
    files.write(job.plan.weights_output.name, weights_to_bytes(model.state_dict()))
    return result.steps_taken


def _start(files: JobFiles) -> tuple[nn.Module, dict[str, Tensor]]:
    """The classifier, checked, and the weights that training starts from."""
    model = load_classifier(files)
    if files.model_text is not None:
        check_file_model(model, files.job.plan)
    return model, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _losses(
    files: JobFiles, model: nn.Module, shard: AnyShard, *, kept: bool
) -> Callable[[nn.Module, Tensor], Tensor]:
    """The loss of each image; features that no step changes are computed once for all rounds."""
    plan = files.job.plan
    labels = as_tensor(shard.labels)
    if kept and isinstance(model, FrozenStart):
        features = _features(files, model, shard)
        return lambda _network, index: functional.cross_entropy(
            model.from_features(features[index]), labels[index], reduction="none"
        )
    images, augment, views = normalise(as_tensor(shard.images)), _augmentation(plan), _views(plan)
    return lambda network, row: functional.cross_entropy(
        network(augment(images[row // views])), labels[row // views], reduction="none"
    )


def public_rows(
    model: nn.Module, *, size: int, classes: int, rows: int, kept: bool
) -> Callable[[nn.Module, Tensor], Tensor]:
    """Losses of drawn rows, shaped like those that training will see; augmentation left out.

    Args:
        model: the classifier.
        size: pixels a side of the images.
        classes: number of classes.
        rows: how many rows there are.
        kept: whether training starts from kept features.
    """
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    if kept and isinstance(model, FrozenStart):
        features = torch.randn((rows, model.feature_size), generator=draws)
        return lambda _network, index: functional.cross_entropy(
            model.from_features(features[index]), labels[index], reduction="none"
        )
    images = torch.randn((rows, 1, size, size), generator=draws)
    return lambda network, index: functional.cross_entropy(
        network(images[index]), labels[index], reduction="none"
    )


def _views(plan: Plan) -> int:
    """Rows of training for each image: its augmented views are rows of the same unit.

    So they are averaged before the unit is clipped, like the images of a unit, and by the same
    code.
    """
    return plan.train.augment.views if plan.train.augment is not None else 1


def _kept(model: nn.Module, job: Job) -> bool:
    """Whether features are kept: they say the same in every step, and have room.

    A function of the plan and of the published number of units: were it one of how many images
    there are, one more could change how those of all others are computed, and so their last bits.
    """
    if not isinstance(model, FrozenStart) or job.plan.train.augment is not None:
        return False
    size = model.feature_size * np.dtype(np.float32).itemsize
    return size * _IMAGES_EXPECTED * job.published_units <= MOST_FEATURES


def _features(files: JobFiles, model: FrozenStart, shard: AnyShard) -> Tensor:
    kept = files.features()
    if kept is None or kept.shape != (len(shard.labels), model.feature_size):
        kept = model.stored_features(shard.images)
        if not files.noise_only:
            files.write_array(FEATURES, kept)
    return as_tensor(kept)


def load_classifier(files: JobFiles) -> nn.Module:
    """The plan's classifier with the weights that came with the task.

    Raises:
        ModelsError: the plan's encoder is not the one that is mounted, or the weights do not fit.
    """
    plan = files.job.plan
    model = build_model(
        plan.model.name,
        text=files.model_text,
        classes=len(plan.classes),
        image_size=plan.model.image_size,
        encoder=_encoder(files),
    )
    model.load_state_dict(weights_from_bytes(files.weights, like=model.state_dict()))
    return model


def _encoder(files: JobFiles) -> Path | None:
    """The folder of the encoder that the plan names; None for the shipped one.

    The agent looked through it before the spend was reserved. Here its card is compared once more;
    its weights are compared with the card when they are read.
    """
    wanted = files.job.plan.model.encoder_sha256
    if wanted is None:
        return None
    if files.encoder is None or encoder_sha256(files.encoder) != wanted:
        raise WeightsError(f"encoder {wanted[:12]} is not mounted; set encoder in site.toml")
    return files.encoder


_LOOKED_AT_WITH = 4
"""Images."""


def check_file_model(model: nn.Module, plan: Plan) -> None:
    """Refuse a `model.py` whose per-unit gradients are not exact, found out on random images.

    Four of them at most, however many classes a plan names: each holds a gradient of its own, and
    the largest model that is allowed has 30 million parameters.

    Raises:
        privacy.GradientError: its layers mix images, or a gradient differs from the truth.
    """
    order = torch.arange(min(len(plan.classes), _LOOKED_AT_WITH))
    shape = (len(order), 1, plan.model.image_size, plan.model.image_size)
    images, labels = torch.randn(shape, generator=torch.Generator().manual_seed(0)), order

    def losses(network: nn.Module, index: Tensor) -> Tensor:
        return functional.cross_entropy(network(images[index]), labels[index], reduction="none")

    half = len(labels) // 2
    check_gradients(model, losses=losses, units=[order[:half], order[half:]])


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor with a copy of an array that may be read-only."""
    return torch.from_numpy(np.array(array))


def _settings(job: Job, task: TrainTask, *, kept: bool) -> DpSgdSettings:
    part = job.plan.train
    return DpSgdSettings(
        sampling_rate=part.sampling_rate,
        noise_multiplier=part.noise_multiplier,
        clipping_norm=part.clipping_norm,
        expected_units=part.sampling_rate * job.published_units,
        steps=task.steps,
        chunk_images=MOST_KEPT_ROWS if kept else MOST_ROWS,
        max_images_per_unit=min(MOST_ROWS, MOST_IMAGES * _views(job.plan)),
    )


def _augmentation(plan: Plan) -> Callable[[Tensor], Tensor]:
    if plan.train.augment is None:
        return lambda images: images
    from models import build_augment  # and with it torchvision

    settings = AugmentSettings(**plan.train.augment.variation())
    return build_augment(settings, generator=os_generator())


def _public_loss(
    files: JobFiles, model: nn.Module, task: TrainTask
) -> Callable[[nn.Module], Tensor] | None:
    """FedProx' term, a correction, and the loss on DP-synthetic images: no further privacy cost.

    They are functions of the global weights, of what came with the task, and of images whose making
    is in the ledger already (post-processing).
    """
    plan = files.job.plan
    start = [parameter.detach().clone() for parameter in model.parameters()]
    mixed = plan.train.synthetic_weight > 0 and not files.noise_only  # else it is work for nothing
    synthetic = files.synthetic() if mixed else None
    brought = files.correction
    if task.proximal_mu == 0 and synthetic is None and brought is None:
        return None
    correction = weights_from_bytes(brought, like=_floating(model)) if brought else {}
    pool = None
    if synthetic is not None:
        size = (plan.model.image_size,) * 2
        pool = (
            functional.interpolate(normalise(as_tensor(synthetic[0])), size=size, mode="bilinear"),
            as_tensor(synthetic[1]),
        )

    def loss(network: nn.Module) -> Tensor:
        total = torch.zeros(())
        if task.proximal_mu > 0:
            pairs = zip(network.parameters(), start, strict=True)
            distance = sum((now - before).square().sum() for now, before in pairs)
            total = total + 0.5 * task.proximal_mu * distance
        total = total + correction_term(network, correction)
        if pool is not None:
            pick = torch.randint(len(pool[1]), (SYNTHETIC_BATCH,))
            entropy = functional.cross_entropy(network(pool[0][pick]), pool[1][pick])
            total = total + plan.train.synthetic_weight * entropy
        return total

    return loss


def _floating(model: nn.Module) -> dict[str, Tensor]:
    return {n: tensor for n, tensor in model.state_dict().items() if tensor.is_floating_point()}


def correction_term(network: nn.Module, correction: Mapping[str, Tensor]) -> Tensor:
    """What has the correction as its gradient: the sum of parameters times it.

    Args:
        network: whose parameters.
        correction: by parameter name; nothing is added to those that it does not name.
    """
    total = torch.zeros(())
    for name, parameter in network.named_parameters():
        if name in correction:
            total = total + (parameter * correction[name]).sum()
    return total
