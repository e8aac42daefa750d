"""Models: classifiers, model files, phantoms, diffusion, augmentation, weights, metrics, reports.

What other packages may use is named here and imported when it is first asked for: only what
needs torch imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.augment import build_augment
    from models.backbone_encoder import open_encoder
    from models.build import build_model, initial_weights
    from models.calibration import calibrated_from
    from models.case_checks import CaseLook
    from models.classes import DEFAULT_CLASSES
    from models.classifiers import (
        ENCODER_HEAD,
        build_classifier,
        classifier_names,
        normalise,
    )
    from models.copycheck import CopyCheck, copy_check
    from models.diffusion import build_generator, diffusion_losses, predicted, sample_images
    from models.encoder_card import EncoderCard, check_encoder, encoder_sha256
    from models.encoder_head import EncoderHead
    from models.encoder_making import EncoderSettings, make_encoder
    from models.encoder_tuned import EncoderTuned, TunedStart, one_step, tune
    from models.errors import MetricsError, ModelFileError, ModelsError, WeightsError
    from models.facts import (
        OTHERS,
        CaseFacts,
        ClassScores,
        CohortFacts,
        Facts,
        HospitalShare,
        Reference,
        TrendPoint,
        facts_from_json,
        facts_sha256,
        references,
    )
    from models.frozen_start import FrozenStart
    from models.generator import Generator
    from models.generator_card import GeneratorCard, read_generator_card
    from models.membership import AttackScore, attack_tpr, label_probabilities, rmia_scores
    from models.metrics import ClassScore, Evaluation, RocCurve, evaluate
    from models.modelfile import build_from_text
    from models.modelfile_shapes import check_model_text
    from models.modelstore import load_model_file, model_file_bytes
    from models.noised_metrics import (
        Estimate,
        NoisedEvaluation,
        class_figures,
        noised_accuracy,
        noised_evaluation,
    )
    from models.phantoms import PhantomSet, draw_phantom, draw_phantoms
    from models.pooling import pack_generators, unpack_generators
    from models.prediction import predict
    from models.report_errors import FactsError, Finding, ReportCheckError, ReportError
    from models.report_layout import DISCLAIMER, sections_of
    from models.report_source import find_model
    from models.settings import AugmentSettings, GeneratorSettings
    from models.small_generator import SmallGenerator, fresh_generator, pretrained_generator
    from models.stable_diffusion import StableGenerator, stable_generator
    from models.stable_source import checkpoint_sha256, find_checkpoint
    from models.verify import check_report, verify_report
    from models.weightrules import check_plain_weights, check_weights
    from models.weights import weights_from_bytes, weights_sha256, weights_to_bytes
    from models.writer import Report, ReportWriter

_HOMES = {
    "models.augment": ("build_augment",),
    "models.backbone_encoder": ("open_encoder",),
    "models.build": ("build_model", "initial_weights"),
    "models.calibration": ("calibrated_from",),
    "models.case_checks": ("CaseLook",),
    "models.classes": ("DEFAULT_CLASSES",),
    "models.classifiers": (
        "ENCODER_HEAD",
        "build_classifier",
        "classifier_names",
        "normalise",
    ),
    "models.copycheck": ("CopyCheck", "copy_check"),
    "models.diffusion": ("build_generator", "diffusion_losses", "predicted", "sample_images"),
    "models.encoder_card": ("EncoderCard", "check_encoder", "encoder_sha256"),
    "models.encoder_head": ("EncoderHead",),
    "models.encoder_making": ("EncoderSettings", "make_encoder"),
    "models.encoder_tuned": ("EncoderTuned", "TunedStart", "one_step", "tune"),
    "models.errors": ("MetricsError", "ModelFileError", "ModelsError", "WeightsError"),
    "models.frozen_start": ("FrozenStart",),
    "models.generator": ("Generator",),
    "models.generator_card": ("GeneratorCard", "read_generator_card"),
    "models.membership": ("AttackScore", "attack_tpr", "label_probabilities", "rmia_scores"),
    "models.facts": (
        "CaseFacts",
        "ClassScores",
        "CohortFacts",
        "Facts",
        "HospitalShare",
        "OTHERS",
        "Reference",
        "TrendPoint",
        "facts_from_json",
        "facts_sha256",
        "references",
    ),
    "models.metrics": ("ClassScore", "Evaluation", "RocCurve", "evaluate"),
    "models.modelfile": ("build_from_text",),
    "models.modelfile_shapes": ("check_model_text",),
    "models.modelstore": ("load_model_file", "model_file_bytes"),
    "models.noised_metrics": (
        "Estimate",
        "NoisedEvaluation",
        "class_figures",
        "noised_accuracy",
        "noised_evaluation",
    ),
    "models.phantoms": ("PhantomSet", "draw_phantom", "draw_phantoms"),
    "models.pooling": ("pack_generators", "unpack_generators"),
    "models.prediction": ("predict",),
    "models.report_errors": ("FactsError", "Finding", "ReportCheckError", "ReportError"),
    "models.report_layout": ("DISCLAIMER", "sections_of"),
    "models.report_source": ("find_model",),
    "models.settings": ("AugmentSettings", "GeneratorSettings"),
    "models.small_generator": ("SmallGenerator", "fresh_generator", "pretrained_generator"),
    "models.stable_diffusion": ("StableGenerator", "stable_generator"),
    "models.stable_source": ("checkpoint_sha256", "find_checkpoint"),
    "models.verify": ("check_report", "verify_report"),
    "models.weightrules": ("check_plain_weights", "check_weights"),
    "models.weights": ("weights_from_bytes", "weights_sha256", "weights_to_bytes"),
    "models.writer": ("Report", "ReportWriter"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DEFAULT_CLASSES",
    "DISCLAIMER",
    "ENCODER_HEAD",
    "OTHERS",
    "AttackScore",
    "AugmentSettings",
    "CaseFacts",
    "CaseLook",
    "ClassScore",
    "ClassScores",
    "CohortFacts",
    "CopyCheck",
    "EncoderCard",
    "EncoderHead",
    "EncoderSettings",
    "EncoderTuned",
    "Estimate",
    "Evaluation",
    "Facts",
    "FactsError",
    "Finding",
    "FrozenStart",
    "Generator",
    "GeneratorCard",
    "GeneratorSettings",
    "HospitalShare",
    "MetricsError",
    "ModelFileError",
    "ModelsError",
    "NoisedEvaluation",
    "PhantomSet",
    "Reference",
    "Report",
    "ReportCheckError",
    "ReportError",
    "ReportWriter",
    "RocCurve",
    "SmallGenerator",
    "StableGenerator",
    "TrendPoint",
    "TunedStart",
    "WeightsError",
    "attack_tpr",
    "build_augment",
    "build_classifier",
    "build_from_text",
    "build_generator",
    "build_model",
    "calibrated_from",
    "check_encoder",
    "check_model_text",
    "check_plain_weights",
    "check_report",
    "check_weights",
    "checkpoint_sha256",
    "class_figures",
    "classifier_names",
    "copy_check",
    "diffusion_losses",
    "draw_phantom",
    "draw_phantoms",
    "encoder_sha256",
    "evaluate",
    "facts_from_json",
    "facts_sha256",
    "find_checkpoint",
    "find_model",
    "fresh_generator",
    "initial_weights",
    "label_probabilities",
    "load_model_file",
    "make_encoder",
    "model_file_bytes",
    "noised_accuracy",
    "noised_evaluation",
    "normalise",
    "one_step",
    "open_encoder",
    "pack_generators",
    "predict",
    "predicted",
    "pretrained_generator",
    "read_generator_card",
    "references",
    "rmia_scores",
    "sample_images",
    "sections_of",
    "stable_generator",
    "tune",
    "unpack_generators",
    "verify_report",
    "weights_from_bytes",
    "weights_sha256",
    "weights_to_bytes",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
