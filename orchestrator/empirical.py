"""`dura audit empirical`: a run with canaries through the hospitals' trainer, and attacks on it.

Trains a classifier of the registry or the diffusion generator by `privacy.train_dp`, with the noise
that a claim needs, on phantoms that no patient had anything to do with, or on a shard whose owner
consented to this (`datasites.consent`). Then asks what the run let out: lower bounds on epsilon
from the canaries, and for a classifier a membership attack on the finished model.

An audit on phantoms tests the installed trainer and accountant, not a hospital's computer: what a
hospital really ran is shown by its code hash and its receipts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites import consented_shard
from models import (
    GeneratorSettings,
    attack_tpr,
    build_generator,
    build_model,
    diffusion_losses,
    draw_phantoms,
    label_probabilities,
    normalise,
    rmia_scores,
)
from orchestrator.empirical_result import Attack, Bound, EmpiricalAudit
from orchestrator.errors import StudyError
from privacy import (
    CanaryRun,
    DpEvent,
    DpSgdSettings,
    Subject,
    audit_scores,
    calibrate_noise,
    epsilon,
    os_generator,
    os_rng,
    poisson_gaussian,
    train_dp,
    train_with_canaries,
)

SIGNIFICANCE = 0.05
ATTACK_FPR = 0.001
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
_CHUNK = 64
_CLIP = 1.0


@dataclass(frozen=True, kw_only=True)
class Records:
    """Images among which canaries are hidden.

    Attributes:
        images: uint8 [N, S, S]. labels: int64 [N]. units: int64 [N].
        classes: class names. where: whose they are, in words.
        unit: what a unit is.
        mock: whether no patient is among them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    classes: tuple[str, ...]
    where: str
    unit: str
    mock: bool


@dataclass(frozen=True, kw_only=True)
class EmpiricalSettings:
    """How to audit.

    Attributes:
        target: what is trained. model: registered classifier.
        epsilon: the claim that the noise is calibrated for, at
        delta.
        steps, sampling_rate, learning_rate: of the run.
        image_canaries, gradient_canaries: how many canaries of each kind.
        shadows: reference models of the membership attack; 0 for none.
        others: non-members attacked; 0.1 % false positives need a thousand.
    """

    target: Literal["classifier", "generator"]
    model: str
    epsilon: float
    delta: float
    steps: int
    sampling_rate: float
    learning_rate: float
    image_canaries: int
    gradient_canaries: int
    shadows: int
    others: int

    def event(self, noise_multiplier: float) -> DpEvent:
        """What the run costs at this noise."""
        return poisson_gaussian(
            sampling_rate=self.sampling_rate, noise_multiplier=noise_multiplier, steps=self.steps
        )

    def noise(self) -> float:
        """The noise multiplier that the claim needs."""
        return calibrate_noise(target_epsilon=self.epsilon, delta=self.delta, event_for=self.event)


def mock_records(count: int, *, image_size: int, seed: int) -> Records:
    """Phantoms, each a unit of its own."""
    per_class = max(1, count // len(CLASSES))
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, per_class), size=image_size, seed=seed)
    return Records(
        images=drawn.images,
        labels=drawn.labels,
        units=np.arange(len(drawn.labels)),
        classes=CLASSES,
        where="mock phantoms",
        unit="phantom",
        mock=True,
    )


def run_audit(settings: EmpiricalSettings, records: Records) -> EmpiricalAudit:
    """Train with canaries, bound, attack.

    Args:
        settings: how.
        records: among what; if they are patients', the caller has their owner's consent and has
            reserved ``settings.event(settings.noise())``.

    Raises:
        StudyError: a number makes no audit.
        GradientError: the model has wrong per-unit gradients; that would be a finding by itself.
    """
    if settings.gradient_canaries < 20 or settings.shadows < 0:
        raise StudyError("an audit needs at least 20 gradient canaries and no negative count")
    noise = settings.noise()
    subject = _SUBJECTS[settings.target](settings, records)
    run = train_with_canaries(
        subject,
        settings=_dpsgd(settings, noise, units=_expected(settings, records)),
        optimizer=lambda parameters: torch.optim.SGD(
            parameters, lr=settings.learning_rate, momentum=0.9
        ),
        sampling=os_generator(),
        noise=os_generator(),
        coins=os_rng(),
    )
    attack = None
    if settings.target == "classifier" and settings.shadows and records.mock:
        attack = _attack(settings, records, subject.model, noise)
    return EmpiricalAudit(
        made=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        target=settings.target,
        model=settings.model if settings.target == "classifier" else "diffusion UNet",
        data=records.where,
        claim=epsilon(run.event, delta=settings.delta),
        delta=settings.delta,
        unit=records.unit,
        noise_multiplier=noise,
        sampling_rate=settings.sampling_rate,
        steps=run.steps_taken,
        confidence=1 - SIGNIFICANCE,
        bounds=_bounds(run, settings.delta),
        attack=attack,
    )


def audit_consented(
    settings: EmpiricalSettings, site: Path, *, owner: str, reason: str
) -> EmpiricalAudit:
    """The same among a site's patients, whose owner consents to exactly this.

    The run's event is reserved in the site's ledger before any image is read, and committed
    afterwards whatever came of it. Only counts of guesses about canaries come back; the model is
    thrown away, and no patient is attacked.

    Raises:
        DatasitesError: there is no site or no data, or nobody consents.
        BudgetExceededError: the run does not fit the site's budget.
    """
    event = settings.event(settings.noise())
    with consented_shard(site, event=event, clip_norm=_CLIP, owner=owner, reason=reason) as shard:
        return run_audit(
            replace(settings, shadows=0),
            Records(
                images=shard.images,
                labels=shard.labels,
                units=shard.units,
                classes=shard.classes,
                where="a consented shard",
                unit=shard.unit_kind,
                mock=False,
            ),
        )


def _bounds(run: CanaryRun, delta: float) -> tuple[Bound, ...]:
    """A bound a way of looking; together they err with the stated probability."""
    found = []
    for scores in run.scores:
        if len(scores.values) < 10:
            continue
        bound = audit_scores(
            scores.values,
            scores.included,
            event=run.event,
            delta=delta,
            significance=SIGNIFICANCE / len(run.scores),
        )
        found.append(
            Bound(
                name=scores.name,
                access=scores.access,
                canaries=len(scores.values),
                guesses=bound.guesses.made,
                correct=bound.guesses.correct,
                epsilon=bound.epsilon,
                epsilon_fdp=bound.epsilon_fdp,
                claim_rejected=bound.claim_rejected,
            )
        )
    return tuple(found)


def _expected(settings: EmpiricalSettings, records: Records) -> float:
    real = len(np.unique(records.units))
    return real + (settings.image_canaries + settings.gradient_canaries) / 2


def _dpsgd(settings: EmpiricalSettings, noise: float, *, units: float) -> DpSgdSettings:
    return DpSgdSettings(
        sampling_rate=settings.sampling_rate,
        noise_multiplier=noise,
        clipping_norm=_CLIP,
        expected_units=settings.sampling_rate * units,
        steps=settings.steps,
        chunk_images=_CHUNK,
    )


def _with_canaries(
    settings: EmpiricalSettings, records: Records
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The records and, after them, wrongly labelled phantoms."""
    wanted = settings.image_canaries
    if wanted == 0:
        return records.images, records.labels
    per_class = -(-wanted // len(CLASSES))
    size = records.images.shape[1]
    drawn = draw_phantoms(
        counts=dict.fromkeys(CLASSES, per_class), size=size, seed=int(os_rng().integers(2**31))
    )
    chosen = os_rng().permutation(len(drawn.labels))[:wanted]
    classes = len(records.classes)
    shift = os_rng().integers(1, classes, wanted)
    labels = (drawn.labels[chosen] % classes + shift) % classes
    return np.concatenate([records.images, drawn.images[chosen]]), np.concatenate(
        [records.labels, labels]
    )


def _classifier(settings: EmpiricalSettings, records: Records) -> Subject:
    images, labels = _with_canaries(settings, records)
    model = build_model(
        settings.model, text=None, classes=len(records.classes), image_size=images.shape[1]
    )
    return Subject(
        model=model.train(),
        losses=_cross_entropy(images, labels),
        units=torch.from_numpy(np.array(records.units)),
        image_canaries=settings.image_canaries,
        gradient_canaries=settings.gradient_canaries,
    )


def _cross_entropy(
    images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> Callable[[nn.Module, Tensor], Tensor]:
    inputs, targets = normalise(torch.from_numpy(np.array(images))), torch.from_numpy(labels.copy())
    return lambda model, index: functional.cross_entropy(
        model(inputs[index]), targets[index], reduction="none"
    )


def _generator(settings: EmpiricalSettings, records: Records) -> Subject:
    images, labels = _with_canaries(settings, records)
    made = GeneratorSettings(image_size=16)
    whole = torch.from_numpy(images.copy()).float()[:, None] / 127.5 - 1
    inputs = functional.interpolate(whole, size=(16, 16), mode="area")
    targets = torch.from_numpy(labels.copy())
    draws = os_generator()

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        return diffusion_losses(model, inputs[index], targets[index], generator=draws)

    def fixed(model: nn.Module, index: Tensor) -> Tensor:
        same = torch.Generator().manual_seed(0)  # the same steps and noise at every look
        return diffusion_losses(model, inputs[index], targets[index], generator=same, draws=4)

    return Subject(
        model=build_generator(made, classes=len(records.classes)).train(),
        losses=losses,
        fixed_losses=fixed,
        units=torch.from_numpy(np.array(records.units)),
        image_canaries=settings.image_canaries,
        gradient_canaries=settings.gradient_canaries,
    )


_SUBJECTS: dict[str, Callable[[EmpiricalSettings, Records], Subject]] = {
    "classifier": _classifier,
    "generator": _generator,
}


def _attack(
    settings: EmpiricalSettings, records: Records, model: nn.Module, noise: float
) -> Attack:
    """RMIA on the finished model, with reference models that never saw a target."""
    size = records.images.shape[1]
    others = mock_records(settings.others, image_size=size, seed=int(os_rng().integers(2**31)))
    pool = mock_records(len(records.labels), image_size=size, seed=int(os_rng().integers(2**31)))
    population = mock_records(400, image_size=size, seed=int(os_rng().integers(2**31)))
    targets = [records, others, population]
    seen = [label_probabilities(model, part.images, part.labels) for part in targets]
    references: list[list[NDArray[np.float64]]] = []
    for _ in range(settings.shadows):
        shadow = _shadow(settings, pool, noise)
        references.append([label_probabilities(shadow, p.images, p.labels) for p in targets])
    outside = [np.stack(rows) for rows in zip(*references, strict=True)]
    members, strangers = (
        rmia_scores(seen[k], outside[k], population=seen[2], population_outside=outside[2])
        for k in (0, 1)
    )
    found = attack_tpr(members, strangers, fpr=ATTACK_FPR)
    return Attack(
        method=f"RMIA with {settings.shadows} reference models",
        members=len(members),
        others=len(strangers),
        fpr=ATTACK_FPR,
        tpr=found.tpr,
        tpr_low=found.low,
        tpr_high=found.high,
        auc=found.auc,
    )


def _shadow(settings: EmpiricalSettings, pool: Records, noise: float) -> nn.Module:
    """A model trained as the target was, on half of a pool of other images."""
    half = os_rng().permutation(len(pool.labels))[: max(1, len(pool.labels) // 2)]
    size = pool.images.shape[1]
    model = build_model(settings.model, text=None, classes=len(pool.classes), image_size=size)
    train_dp(
        model.train(),
        losses=_cross_entropy(pool.images[half], pool.labels[half]),
        units=torch.arange(len(half)),
        settings=_dpsgd(settings, noise, units=len(half)),
        optimizer=lambda parameters: torch.optim.SGD(
            parameters, lr=settings.learning_rate, momentum=0.9
        ),
        sampling=os_generator(),
        noise=os_generator(),
    )
    return model
