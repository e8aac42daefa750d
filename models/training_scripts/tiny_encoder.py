"""Makes an encoder on a backbone of random weights, to try the whole way of one without a network.

    python -m models.training_scripts.tiny_encoder FOLDER

Its features are those of a random network: fit for tests, and for nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn
from torchvision.models import get_model

from models.classifiers.registry import build_seeded
from models.encoder.make import EncoderSettings, make_encoder
from models.weights.tensors import weights_to_bytes

ARCHITECTURE = "mobilenet_v3_small"


def write_tiny(folder: Path, *, seed: int = 0) -> Path:
    """An encoder folder, a few seconds' work; equal seeds give equal encoders."""
    with tempfile.TemporaryDirectory() as scratch:
        weights = write_random(Path(scratch) / "random.safetensors", seed=seed)
        make_encoder(
            folder,
            EncoderSettings(
                architecture=ARCHITECTURE,
                weights=weights,
                saw="nothing, they are random",
                dimension=8,
                phantoms=32,
            ),
        )
    return folder


def write_random(path: Path, *, seed: int = 0) -> Path:
    """Random weights of the whole classifier, as `dura study encoder --weights` takes them."""
    net = build_seeded(_random, seed=seed)
    path.write_bytes(weights_to_bytes(net.state_dict()))
    return path


def _random() -> nn.Module:
    """Random weights, with a random batch's statistics: without them the last maps are all zero."""
    net: nn.Module = get_model(ARCHITECTURE, weights=None)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net(torch.randn(8, 3, 96, 96))
    return net


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(write_tiny(parser.parse_args().folder))
