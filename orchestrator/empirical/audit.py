"""`dura audit empirical`: a run with canaries through the hospitals' trainer, and attacks on it.

Trains a classifier of the registry or the diffusion generator by `privacy.train_dp`, with the noise
that a claim needs, on phantoms that no patient had anything to do with, or on a shard whose owner
consented to this (`datasites.owner.audit_consent`). Then asks what the run let out: lower bounds on
epsilon from the canaries, and for a classifier a membership attack on the finished model.

An audit on phantoms tests the installed trainer and accountant, not a hospital's computer: what a
hospital really ran is shown by its code hash and its receipts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites import consented_shard
from models import (
    GeneratorSettings,
    build_generator,
    diffusion_losses,
    draw_phantoms,
    predicted,
)
from orchestrator.empirical.membership import attack_trained
from orchestrator.empirical.result import Bound, EmpiricalAudit
from orchestrator.empirical.run import (
    CLASSES,
    CLIP,
    PUBLIC_ROWS,
    EmpiricalSettings,
    Records,
    build,
    cross_entropy,
    dp_settings,
    public_rows,
    sgd,
)
from orchestrator.errors import StudyError
from privacy import (
    CanaryRun,
    KeyStream,
    Subject,
    audit_scores,
    epsilon,
    os_generator,
    os_noise,
    os_rng,
    train_with_canaries,
)

SIGNIFICANCE = 0.05


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
        settings=dp_settings(settings, noise, units=_expected(settings, records)),
        optimizer=sgd(settings),
        sampling=KeyStream(),
        noise=os_noise(),
        coins=os_rng(),
    )
    attack = None
    if settings.target == "classifier" and settings.shadows and records.mock:
        attack = attack_trained(settings, records, subject.model, noise)
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
    with consented_shard(site, event=event, clip_norm=CLIP, owner=owner, reason=reason) as shard:
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
    return Subject(
        model=build(settings, records).train(),
        losses=cross_entropy(images, labels),
        public_rows=public_rows(records),
        units=torch.from_numpy(np.array(records.units)),
        image_canaries=settings.image_canaries,
        gradient_canaries=settings.gradient_canaries,
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
        public_rows=_denoised_rows(size=16),
        units=torch.from_numpy(np.array(records.units)),
        image_canaries=settings.image_canaries,
        gradient_canaries=settings.gradient_canaries,
    )


def _denoised_rows(*, size: int) -> Callable[[nn.Module, Tensor], Tensor]:
    """Losses of drawn noise at drawn timesteps, the same at every call."""
    draws = torch.Generator().manual_seed(0)
    noised, target = torch.randn((2, PUBLIC_ROWS, 1, size, size), generator=draws)
    steps = torch.randint(10, (PUBLIC_ROWS,), generator=draws)

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        some = index % PUBLIC_ROWS
        found = predicted(model, noised[some], torch.zeros_like(some), steps[some])
        return (found - target[some]).square().flatten(1).mean(1)

    return losses


_SUBJECTS: dict[str, Callable[[EmpiricalSettings, Records], Subject]] = {
    "classifier": _classifier,
    "generator": _generator,
}
