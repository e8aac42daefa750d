"""Makes an encoder of a torchvision backbone, without any patient data.

In this order: published weights into the backbone, its last layer left out; mean and projection
fitted to phantoms (`models.phantoms.varied`); a look at fresh phantoms; weights, and last the card,
into a folder that held no encoder. The backbone itself is not trained. The same seed gives the same
phantoms; the files are the same on the same machine and torch release only, so hospitals are
handed the folder, not the command.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from torch import Tensor

from models.encoder.backbone_weights import Published, imagenet_weights, weights_of_file
from models.encoder.backbones import Backbone
from models.encoder.card import (
    MAX_BACKBONE_BYTES,
    WEIGHTS_FILE,
    Architecture,
    BackbonePart,
    EncoderCard,
    Norm,
)
from models.encoder.fit import draw_pooled, fit_projection
from models.encoder.open import BackboneEncoder
from models.errors import WeightsError
from models.weights import CARD_FILE, weights_sha256, weights_to_bytes

MOST_DIMENSIONS = 256
MOST_WORDS = 600


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """How to make an encoder.

    Attributes:
        architecture: torchvision's name of the backbone.
        norm: what stands for its batch normalisation, see `models.encoder.backbones`.
        weights: a state dict of one's own; None for torchvision's ImageNet weights.
        saw: what those weights were trained on; only, and always, with `weights`.
        licence: of those weights.
        dimension: of the features.
        phantoms: to fit mean and projection to; half as many more are drawn to measure.
        seed: of the phantoms.
    """

    architecture: str
    norm: str = "frozen"
    weights: Path | None = None
    saw: str = ""
    licence: str = ""
    dimension: int = 96
    phantoms: int = 1000
    seed: int = 0

    def part(self) -> BackbonePart:
        """What is to be built.

        Raises:
            WeightsError: a setting is out of range; says what is allowed.
        """
        for name, value, allowed in (
            ("backbone", self.architecture, get_args(Architecture)),
            ("norm", self.norm, get_args(Norm)),
        ):
            if value not in allowed:
                raise WeightsError(f"no {name} is called {value!r}; choose {', '.join(allowed)}")
        if (self.weights is not None) != bool(self.saw.strip()):
            raise WeightsError(
                "say what the weights of your file were trained on, in the card that hospitals "
                "read: --saw TEXT with --weights FILE, or neither"
            )
        for name, words in (("--saw", self.saw), ("--licence", self.licence)):
            if len(words) > MOST_WORDS or not words.isprintable():
                raise WeightsError(f"{name} has at most {MOST_WORDS} printable characters")
        if not 1 <= self.dimension <= MOST_DIMENSIONS or self.phantoms < 2 * self.dimension:
            raise WeightsError(
                f"{self.dimension} dimensions fitted to {self.phantoms} phantoms: have 1 to "
                f"{MOST_DIMENSIONS} of them, and at least twice as many phantoms"
            )
        return BackbonePart.model_validate({"architecture": self.architecture, "norm": self.norm})


def make_encoder(folder: Path, settings: EncoderSettings) -> EncoderCard:
    """Make an encoder and write it and its card into `folder`.

    Args:
        folder: made if it is not there.
        settings: how.

    Returns:
        The card.

    Raises:
        WeightsError: a setting is wrong, the weights cannot be had or are another backbone's, or
            the folder holds an encoder already, or is no folder.
    """
    part = settings.part()
    if (folder / CARD_FILE).exists():
        raise WeightsError(f"{folder} holds an encoder already; name another folder")
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder} is no folder; name another")
    backbone = Backbone(part)
    if settings.dimension > backbone.length:
        raise WeightsError(
            f"{part.architecture} has {backbone.length} features; have as many dimensions at most"
        )
    published = (
        imagenet_weights(part.architecture)
        if settings.weights is None
        else weights_of_file(settings.weights)
    )
    backbone.load_published(published.state, source=published.source)
    encoder = BackboneEncoder(backbone, part=part, dimension=settings.dimension)
    measured = _fit(encoder, settings)
    data = weights_to_bytes(encoder.state_dict())
    if len(data) > MAX_BACKBONE_BYTES:
        raise WeightsError(f"the encoder has {len(data)} bytes; at most {MAX_BACKBONE_BYTES}")
    card = _card(data, settings, part, published, measured=measured)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(data)
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def _fit(encoder: BackboneEncoder, settings: EncoderSettings) -> float:
    """Fit mean and projection in place; accuracy of a linear head on fresh phantoms."""
    pooled, labels = draw_pooled(encoder, count=settings.phantoms, seed=settings.seed)
    mean, projection = fit_projection(pooled, dimension=settings.dimension)
    encoder.load_state_dict({"mean": mean, "projection": projection}, strict=False)
    fresh = draw_pooled(encoder, count=settings.phantoms // 2, seed=settings.seed + 1)
    return _accuracy((encoder.project(pooled), labels), (encoder.project(fresh[0]), fresh[1]))


def _accuracy(seen: tuple[Tensor, Tensor], fresh: tuple[Tensor, Tensor]) -> float:
    from sklearn.linear_model import RidgeClassifierCV

    head = RidgeClassifierCV(alphas=np.logspace(-3, 3, 7))
    head.fit(*(part.numpy() for part in seen))
    return float(head.score(*(part.numpy() for part in fresh)))


def _card(
    data: bytes,
    settings: EncoderSettings,
    part: BackbonePart,
    published: Published,
    *,
    measured: float,
) -> EncoderCard:
    ours = settings.weights is None
    what = "ImageNet-1k photographs" if ours else settings.saw.strip()
    return EncoderCard(
        name=f"{part.architecture}-{part.norm}",
        sha256=weights_sha256(data),
        dimension=settings.dimension,
        backbone=part,
        saw=(
            f"{what}: the backbone, {published.source}",
            f"{settings.phantoms} phantoms drawn by models.phantoms.varied: mean and projection",
        ),
        never_saw="not known: nobody looked through what the backbone was trained on",
        made_by=_how(settings),
        licence=settings.licence.strip()
        or ("BSD-3-Clause, as torchvision; ImageNet has terms of its own" if ours else "not told"),
        measured={"accuracy_on_fresh_phantoms": round(measured, 4)},
        limits=(
            "Features of the whole image, for a head that is trained on real images. By itself it "
            "recognises nothing in a patient."
        ),
    )


def _how(settings: EncoderSettings) -> str:
    """The command, without the folder's name; of a file of weights the name alone."""
    words = ["dura", "study", "encoder", "--backbone", settings.architecture]
    words += ["--norm", settings.norm]
    if settings.weights is not None:
        words += ["--weights", settings.weights.name]
    words += ["--dimension", str(settings.dimension), "--phantoms", str(settings.phantoms)]
    return shlex.join([*words, "--seed", str(settings.seed)])
