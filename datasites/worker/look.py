"""Looking at a researcher's model, inside a sandbox: it is built, and its gradients are compared.

The owner's process builds nothing that a plan describes: it reads `model.py` and bounds what the
model takes (`models.modelfile.shapes`), and then has this done where memory and time have limits
and nothing of the site is to be seen. Only random images go through the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import TypeAdapter

from datasites.plans import ModelFacts, Plan
from datasites.worker.files import JobFiles
from datasites.worker.protocol import FACTS_FILE, LOOKED_AT
from datasites.worker.train import check_file_model
from models import ModelsError, build_model
from privacy import PrivacyError

if TYPE_CHECKING:
    from torch import nn

FACTS: TypeAdapter[ModelFacts] = TypeAdapter(ModelFacts)


def warm_up() -> None:
    """Nothing is handed over while one waits: nothing to hide."""
    torch.set_num_threads(1)


def run(files: JobFiles) -> int:
    """Build the model that came along, leave what was found; no noised step is taken."""
    plan = Plan.model_validate_json(files.given(LOOKED_AT))
    try:
        model = build_model(
            plan.model.name,
            text=files.model_text,
            classes=len(plan.classes),
            image_size=plan.model.image_size,
        )
    except ModelsError as error:
        facts = ModelFacts(gradient_problem=f"it cannot be built: {error}")
    else:
        facts = model_facts(model, plan)
    files.write(FACTS_FILE, FACTS.dump_json(facts))
    return 0


def model_facts(model: nn.Module, plan: Plan) -> ModelFacts:
    """What looking at a built model found; only random images go through it."""
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
