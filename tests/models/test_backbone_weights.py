"""Where a backbone's weights come from. No network: torchvision's own cache, and local files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from models.encoder.backbone_weights import imagenet_weights, weights_of_file
from models.errors import WeightsError
from models.weights.tensors import weights_to_bytes

STATE = {"a": torch.ones(2), "b": torch.arange(3)}


class Planted:
    """A pickle that would write a file, were it ever run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.target),)


def test_imagenet_weights_are_torchvisions_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its cache, where a file of random weights stands for the published one."""
    weights = get_model_weights("mobilenet_v3_small").DEFAULT
    state = get_model("mobilenet_v3_small", weights=None).state_dict()
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(state, cache / Path(weights.url).name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    published = imagenet_weights("mobilenet_v3_small")
    assert published.source == "torchvision's MobileNet_V3_Small_Weights.IMAGENET1K_V1"
    assert published.state.keys() == state.keys()


def test_without_a_network_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"https://\S+resnet18\S+.*--weights FILE"):
        imagenet_weights("resnet18")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_local_file_is_read_and_told_by_its_hash(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".pth"):
        torch.save(STATE, path)
    else:
        path.write_bytes(weights_to_bytes(STATE))
    found = weights_of_file(path)
    assert found.state.keys() == STATE.keys()
    assert torch.equal(found.state["b"], STATE["b"])
    assert name in found.source
    assert "SHA-256" in found.source


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": STATE}, "save the state_dict"),
        ([1, 2], "not a state_dict"),
        ({"a": torch.tensor([float("nan")])}, "NaN"),
    ],
)
def test_anything_but_a_state_dict_is_refused(content: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=said):
        weights_of_file(path)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    path, target = tmp_path / "w.pth", tmp_path / "planted"
    torch.save(Planted(target), path)
    with pytest.raises(WeightsError, match="tensors alone"):
        weights_of_file(path)
    path.write_bytes(pickle.dumps(Planted(target), protocol=2))
    with pytest.raises(WeightsError, match="tensors alone"):
        weights_of_file(path)
    assert not target.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_rubbish_and_what_is_missing_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(WeightsError, match="cannot be read"):
        weights_of_file(path)
    for data in (b"", b"rubbish", b"PK\x03\x04rubbish"):
        path.write_bytes(data)
        with pytest.raises(WeightsError):
            weights_of_file(path)
