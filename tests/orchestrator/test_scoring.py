"""The researcher's test set: features of a frozen encoder are computed once, and change nothing."""

import pytest
import torch

from models import FrozenStart, build_model, evaluate, predict
from orchestrator.demo import write_phantoms
from orchestrator.rounds.scoring import TestSet

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def test_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("test")
    write_phantoms(folder, per_class=2, seed=3)
    return TestSet(folder, classes=CLASSES, image_size=64)


def test_heads_are_scored_on_features_computed_once(test_set, monkeypatch):
    heads = []
    for seed in (0, 1):
        head = build_model("encoder_head", text=None, classes=4, image_size=64)
        torch.nn.init.normal_(
            head.head.weight, std=3.0, generator=torch.Generator().manual_seed(seed)
        )
        heads.append(head)
    expected = [
        evaluate(predict(head, test_set.images), test_set.labels, CLASSES) for head in heads
    ]
    calls = []
    real = FrozenStart.stored_features
    monkeypatch.setattr(
        FrozenStart, "stored_features", lambda self, images: calls.append(1) or real(self, images)
    )
    for head, said in zip(heads, expected, strict=True):
        found = test_set.score(head)
        assert found.confusion == said.confusion
        assert found.loss == pytest.approx(said.loss, abs=1e-5)
    assert expected[0].loss != pytest.approx(expected[1].loss, abs=1e-3)
    assert len(calls) == 1
