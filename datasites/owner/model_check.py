"""Looking at what a bundle brings: its `model.py`, its encoder, what its generator starts from.

The edge of `datasites.plans.assumptions`. Only a `model.py` is looked at, and an encoder that is
not the shipped one; classifiers of the registry are compared by the test suite. Nothing that a plan
describes is built in this process, which is the owner's: `model.py` is read here, layer by layer,
by arithmetic that bounds its parameters, memory and work, and is built and tried on random images
in a sandbox (`datasites.worker.look`). Where no sandbox is to be had it is read alone, and the
reviewer is told.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from datasites.errors import OutputError, SandboxError
from datasites.plans import (
    MODEL_FILE,
    Bundle,
    EncoderFacts,
    GeneratorPart,
    ModelFacts,
    StableDiffusionPart,
)

if TYPE_CHECKING:
    from datasites.plans import Plan

_MEMORY_BYTES: Final = 8 * 1024**3
_TIME_S: Final = 120
_MOST_BYTES: Final = 64 * 1024


def bundle_facts(bundle: Bundle) -> ModelFacts | None:
    """What looking at a bundle's `model.py` found; None for a classifier of the registry."""
    text = bundle.model_text
    if bundle.plan.model.name != MODEL_FILE or text is None:
        return None
    from models import ModelsError, check_model_text

    plan = bundle.plan
    try:
        check_model_text(text, classes=len(plan.classes), image_size=plan.model.image_size)
    except ModelsError as error:
        return ModelFacts(gradient_problem=f"it cannot be built: {error}")
    try:
        return _looked_at(plan, text)
    except OutputError as error:
        return ModelFacts(gradient_problem=f"looking at it left nothing of use: {error}")
    except SandboxError as error:
        return ModelFacts(not_built=str(error))


def _looked_at(plan: Plan, text: str) -> ModelFacts:
    """Have a model built and tried in a sandbox.

    Raises:
        SandboxError: there is none here. OutputError: it left nothing to be understood.
    """
    from pydantic import TypeAdapter, ValidationError

    from datasites.sandbox import (
        Ending,
        JobFolder,
        Limits,
        SandboxProcess,
        require_sandbox,
        take_output,
    )
    from datasites.worker import FACTS_FILE, LOOKED_AT, Profile

    limits = Limits(
        wall_s=_TIME_S,
        cpu_s=_TIME_S,
        memory_bytes=_MEMORY_BYTES,
        scratch_bytes=1024**2,
        output_bytes=1024**2,
    )
    with TemporaryDirectory(prefix="dura-look-") as folder:
        sandbox = SandboxProcess(
            Profile.LOOK,
            folder=JobFolder(Path(folder, "job")),
            data={},
            installation=require_sandbox(),
            limits=limits,
        )
        try:
            sandbox.dispatch(
                {LOOKED_AT: plan.model_dump_json().encode(), MODEL_FILE: text.encode()}
            )
            ending = sandbox.wait()
            if ending is not Ending.DONE:
                said = f"it asks for more than {_MEMORY_BYTES >> 30} GiB or {_TIME_S} s, or fails"
                return ModelFacts(gradient_problem=f"{said}: the look {ending}")
            data = take_output(sandbox.folder.outputs, FACTS_FILE, max_bytes=_MOST_BYTES)
        finally:
            sandbox.discard()
    try:
        return TypeAdapter(ModelFacts).validate_json(data)
    except ValidationError as error:
        raise OutputError(f"what was found of model.py cannot be read: {error}") from error


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
