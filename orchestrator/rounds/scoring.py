"""Scoring a model on a labelled folder: the researcher's own test set, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from datasites import Bundle, IngestError, Plan, read_labelled
from models import Evaluation, FrozenStart, build_model, evaluate, load_model_file, predict
from orchestrator.errors import EvaluationError
from orchestrator.study import ModelSpec, file_encoder, plan_encoder, stands_on

ENCODER_FIELD = "encoder_sha256"
"""In a model file: what `models.encoder.card` calls so; empty where it stands on no encoder."""


class TestSet:
    """Labelled images in memory: uint8 [N, S, S] and int64 [N]."""

    __test__ = False  # not a test case, whatever its name says to pytest

    def __init__(self, folder: Path, *, classes: Sequence[str], image_size: int) -> None:
        """Read a folder with one folder a class.

        Raises:
            EvaluationError: it is missing or holds nothing usable.
        """
        try:
            images, labels = read_labelled(folder, classes=classes, image_size=image_size)
        except IngestError as error:
            raise EvaluationError(str(error)) from error
        self.images: NDArray[np.uint8] = images
        self.labels: NDArray[np.int64] = labels
        self.classes = tuple(classes)
        self._features: torch.Tensor | None = None

    def score(self, model: torch.nn.Module) -> Evaluation:
        """The model's figures on these images."""
        return evaluate(self._probabilities(model), self.labels, self.classes)

    def _probabilities(self, model: torch.nn.Module) -> NDArray[np.float64]:
        """Frozen features are computed once, for all models of one study that are scored."""
        if not isinstance(model, FrozenStart):
            return predict(model, self.images)
        if self._features is None:
            self._features = torch.from_numpy(model.stored_features(self.images))
        return torch.softmax(model.stored_logits(self._features).double(), dim=1).numpy()


def bundle_model(
    bundle: Bundle, weights: Mapping[str, torch.Tensor], spec: ModelSpec
) -> torch.nn.Module:
    """The plan's classifier with the given weights.

    Args:
        bundle: the plan.
        weights: of the classifier.
        spec: where the researcher has the encoder, if the plan names one.

    Raises:
        StudyError: the plan's encoder is not there.
    """
    plan = bundle.plan
    model = build_model(
        plan.model.name,
        text=bundle.model_text,
        classes=len(plan.classes),
        image_size=plan.model.image_size,
        encoder=plan_encoder(plan, spec),
    )
    model.load_state_dict(dict(weights))
    return model


@dataclass(frozen=True)
class ReleasedModel:
    """A model file, opened.

    Attributes:
        model: the classifier. name: of its architecture. text: its `model.py`, if it has one.
        classes: in label order. image_size: pixels a side.
    """

    model: torch.nn.Module
    name: str
    text: str | None
    classes: tuple[str, ...]
    image_size: int


def open_model(model_file: Path, *, encoder: Path | None = None) -> ReleasedModel:
    """Open a released model file.

    Args:
        model_file: the file.
        encoder: folder of the encoder that it stands on, if that does not ship with Dura.

    Raises:
        EvaluationError: the file is not a Dura model, or the encoder is not the one it names.
    """
    from models import ModelsError

    try:
        state, about = load_model_file(model_file)
        classes = tuple(about["classes"].split(","))
        size = int(about["image_size"])
        text = about.get("model_text") or None
        wanted = about.get(ENCODER_FIELD, "")
        folder = file_encoder(model_file, wanted=wanted, folder=encoder)
        model = build_model(
            about["model"], text=text, classes=len(classes), image_size=size, encoder=folder
        )
        model.load_state_dict(state)
    except (ModelsError, KeyError, ValueError, RuntimeError) as error:
        raise EvaluationError(f"{model_file} is not a model that Dura wrote: {error}") from error
    return ReleasedModel(model, about["model"], text, classes, size)


def evaluate_file(model_file: Path, folder: Path, *, encoder: Path | None = None) -> Evaluation:
    """Score a released model file on any labelled folder.

    Args:
        model_file: the file.
        folder: of the images, one folder a class.
        encoder: see `open_model`.

    Raises:
        EvaluationError: the file is not a Dura model, the encoder is not the one it names, or the
            folder holds nothing usable.
    """
    opened = open_model(model_file, encoder=encoder)
    test = TestSet(folder, classes=opened.classes, image_size=opened.image_size)
    return test.score(opened.model)


def weights_on(plan: Plan, model_file: Path) -> dict[str, torch.Tensor]:
    """The weights of a model file that stands on a plan's encoder.

    Raises:
        ModelsError: the file is no model.
        EvaluationError: it stands on another encoder, on whose features its weights mean nothing.
    """
    state, about = load_model_file(model_file)
    found, wanted = about.get(ENCODER_FIELD, ""), stands_on(plan.model)
    if found != wanted:
        raise EvaluationError(
            f"{model_file} stands on {_encoder(found)}, the plan on {_encoder(wanted)}; give a "
            "model that was trained under the plan"
        )
    return state


def _encoder(sha256: str) -> str:
    return f"the encoder {sha256[:12]}" if sha256 else "no encoder"


def model_metadata(bundle: Bundle) -> dict[str, str]:
    """What a model file says about itself."""
    plan = bundle.plan
    return {
        "model": plan.model.name,
        "model_text": bundle.model_text or "",
        "classes": ",".join(plan.classes),
        "image_size": str(plan.model.image_size),
        "study": plan.study,
        "plan_sha256": bundle.sha256,
        ENCODER_FIELD: stands_on(plan.model),
    }
