"""Looking at the model of a bundle: it is built, and its gradients are compared on random images.

The edge of `datasites.plans.assumptions`: it needs PyTorch and takes seconds, so only a `model.py`
is looked at, and an encoder that is not the shipped one; classifiers of the registry are compared
by the test suite.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datasites.plans import (
    MODEL_FILE,
    Bundle,
    EncoderFacts,
    GeneratorPart,
    ModelFacts,
    StableDiffusionPart,
)

if TYPE_CHECKING:
    from torch import nn

    from datasites.plans import Plan


def bundle_facts(bundle: Bundle) -> ModelFacts | None:
    """What looking at a bundle's `model.py` found; None for a classifier of the registry."""
    if bundle.plan.model.name != MODEL_FILE:
        return None
    from models import ModelsError, build_model

    plan = bundle.plan
    try:
        model = build_model(
            plan.model.name,
            text=bundle.model_text,
            classes=len(plan.classes),
            image_size=plan.model.image_size,
        )
    except ModelsError as error:
        return ModelFacts(gradient_problem=f"it cannot be built: {error}")
    return model_facts(model, plan)


def start_problem(plan: Plan, *, checkpoint: str = "") -> str:
    """Why the plan's generator cannot start on this installation; empty if it can.

    Args:
        plan: the plan.
        checkpoint: where this site has its Stable Diffusion checkpoint; empty for nowhere.
    """
    from models import ModelsError

    try:
        return _start_problem(plan.generator, checkpoint)
    except ModelsError as error:
        return f"what the generator starts from is not here: {error}"


def _start_problem(part: GeneratorPart | StableDiffusionPart | None, checkpoint: str) -> str:
    from models import checkpoint_sha256, find_checkpoint, read_generator_card

    if isinstance(part, StableDiffusionPart):
        if not checkpoint:
            return "this site names no checkpoint; set generator_checkpoint in site.toml"
        found = checkpoint_sha256(find_checkpoint(checkpoint))
        return _other(part.checkpoint_sha256, found)
    if part is None or part.start_sha256 is None:
        return ""
    card = read_generator_card()
    if card.image_size != part.image_size:
        return f"{card.name} makes images of {card.image_size} px, not {part.image_size}"
    return _other(part.start_sha256, card.sha256)


def _other(wanted: str, found: str) -> str:
    if wanted == found:
        return ""
    return f"the generator is to start from {wanted[:12]}, but what is here is {found[:12]}"


def encoder_facts(plan: Plan, *, folder: str) -> EncoderFacts | None:
    """What reading the encoder that a plan names found; None for a plan that names none.

    Args:
        plan: the plan.
        folder: where this site has its encoder; empty for nowhere.
    """
    problem = encoder_problem(plan, folder=folder)
    if plan.model.encoder_sha256 is None or problem:
        return EncoderFacts(problem=problem) if problem else None
    from models import ModelsError, check_encoder, open_encoder

    try:
        open_encoder(Path(folder))
        return EncoderFacts(saw=check_encoder(Path(folder)).saw)
    except ModelsError as error:
        return EncoderFacts(problem=str(error))


def encoder_problem(plan: Plan, *, folder: str) -> str:
    """Why this site does not hold the encoder that a plan names; empty if it does.

    Every byte of it is looked at, nothing of it is built: a task is refused without PyTorch.
    """
    from models import ModelsError, check_encoder

    wanted = plan.model.encoder_sha256
    if wanted is None:
        return ""
    if not folder:
        return "this site names no encoder; set encoder in site.toml"
    try:
        check_encoder(Path(folder), sha256=wanted)
    except ModelsError as error:
        return str(error)
    return ""


def model_facts(model: nn.Module, plan: Plan) -> ModelFacts:
    """What looking at a built model found; only random images go through it."""
    from datasites.worker.train import check_file_model
    from privacy import PrivacyError

    problem = ""
    try:
        check_file_model(model.train(), plan)
    except PrivacyError as error:
        problem = str(error)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        problem = f"it fails on random images: {error}"
    return ModelFacts(
        batch_statistics=_layers(model, "track_running_stats"),
        checkpointing=_layers(model, "gradient_checkpointing"),
        gradient_problem=problem,
    )


def _layers(model: nn.Module, mark: str) -> tuple[str, ...]:
    """Names of layers that bear a mark; a layer without running statistics may use a batch's."""
    from torch import nn

    batch = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) if "running" in mark else ()
    return tuple(
        f"{name or 'the model'} ({type(layer).__name__})"
        for name, layer in model.named_modules()
        if getattr(layer, mark, False) or isinstance(layer, batch)
    )
