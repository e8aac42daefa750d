"""Membership attacks: on the audit's own model, and on a released one whose members are known.

RMIA (`models.metrics.membership`) with reference models that never saw a target, trained as the
audit's model was. A released model is attacked with images that somebody knows to have been in its
training (`members`) and others that were not: the half of the others is attacked, the rest is for
reference.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datasites import IngestError, read_labelled
from models import attack_tpr, label_probabilities, rmia_scores
from orchestrator.empirical.result import Attack
from orchestrator.empirical.run import (
    EmpiricalSettings,
    Records,
    build,
    cross_entropy,
    dp_settings,
    mock_records,
    public_rows,
    sgd,
)
from orchestrator.errors import EvaluationError, StudyError
from orchestrator.rounds import ReleasedModel
from privacy import KeyStream, os_noise, os_rng, train_dp

ATTACK_FPR = 0.001


def attack_trained(
    settings: EmpiricalSettings, records: Records, model: nn.Module, noise: float
) -> Attack:
    """Attack a model that was just trained on mock records; everybody else is drawn for it."""
    size = records.images.shape[1]
    others = mock_records(settings.others, image_size=size, seed=int(os_rng().integers(2**31)))
    pool = mock_records(len(records.labels), image_size=size, seed=int(os_rng().integers(2**31)))
    population = mock_records(400, image_size=size, seed=int(os_rng().integers(2**31)))
    return _attack(settings, model, noise, records, others, population=population, pool=pool)


def attack_released(
    settings: EmpiricalSettings, released: ReleasedModel, *, members: Path, others: Path
) -> Attack:
    """Attack a released model.

    Args:
        settings: how reference models are trained; as many as `settings.shadows`.
        released: the model.
        members: images it was trained on, one folder a class.
        others: images of the same kind that it never saw.

    Raises:
        StudyError: there are no reference models.
        EvaluationError: a folder holds nothing usable, or too little.
    """
    if settings.shadows < 1:
        raise StudyError("attacking a released model needs --shadows 1 or more")
    inside, outside = _records(members, released), _records(others, released)
    order = os_rng().permutation(len(outside.labels))
    if len(order) < 40 or len(inside.labels) < 1:
        raise EvaluationError(f"{others} holds {len(order)} images; an attack needs 40 at least")
    half = len(order) // 2
    rest = _part(outside, order[half:])
    quarter = len(rest.labels) // 2
    return _attack(
        settings,
        released.model,
        settings.noise(),
        inside,
        _part(outside, order[:half]),
        population=_part(rest, np.arange(quarter)),
        pool=_part(rest, np.arange(quarter, len(rest.labels))),
    )


def _attack(
    settings: EmpiricalSettings,
    model: nn.Module,
    noise: float,
    members: Records,
    others: Records,
    *,
    population: Records,
    pool: Records,
) -> Attack:
    targets = [members, others, population]
    seen = [label_probabilities(model, part.images, part.labels) for part in targets]
    references: list[list[NDArray[np.float64]]] = []
    for _ in range(settings.shadows):
        shadow = _shadow(settings, pool, noise)
        references.append([label_probabilities(shadow, p.images, p.labels) for p in targets])
    outside = [np.stack(rows) for rows in zip(*references, strict=True)]
    accused, strangers = (
        rmia_scores(seen[k], outside[k], population=seen[2], population_outside=outside[2])
        for k in (0, 1)
    )
    # Fewer strangers than a thousand cannot show a rate of one in a thousand.
    fpr = max(ATTACK_FPR, 1 / len(strangers))
    found = attack_tpr(accused, strangers, fpr=fpr)
    return Attack(
        method=f"RMIA with {settings.shadows} reference models",
        members=len(accused),
        others=len(strangers),
        fpr=fpr,
        tpr=found.tpr,
        tpr_low=found.low,
        tpr_high=found.high,
        auc=found.auc,
    )


def _shadow(settings: EmpiricalSettings, pool: Records, noise: float) -> nn.Module:
    """A model trained as the target was, on half of a pool of other images."""
    half = os_rng().permutation(len(pool.labels))[: max(1, len(pool.labels) // 2)]
    model = build(settings, pool)
    train_dp(
        model.train(),
        losses=cross_entropy(pool.images[half], pool.labels[half]),
        units=torch.arange(len(half)),
        settings=dp_settings(settings, noise, units=len(half)),
        optimizer=sgd(settings),
        sampling=KeyStream(),
        noise=os_noise(),
        public_rows=public_rows(pool),
    )
    return model


def _records(folder: Path, released: ReleasedModel) -> Records:
    try:
        images, labels = read_labelled(
            folder, classes=released.classes, image_size=released.image_size
        )
    except IngestError as error:
        raise EvaluationError(str(error)) from error
    return Records(
        images=images,
        labels=labels,
        units=np.arange(len(labels)),
        classes=released.classes,
        where=folder.name,
        unit="image",
        mock=False,
    )


def _part(records: Records, index: NDArray[np.int64]) -> Records:
    return replace(
        records,
        images=records.images[index],
        labels=records.labels[index],
        units=records.units[index],
    )
