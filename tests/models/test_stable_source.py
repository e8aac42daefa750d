"""A checkpoint is a folder in diffusers' layout with safetensors, known by its files' hash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from models.errors import GeneratorError
from models.generators.checkpoint import checkpoint_sha256, find_checkpoint


@pytest.fixture
def folder(tiny_stable: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_stable, tmp_path / "copy"))


def test_a_local_folder_is_taken_as_it_is(folder: Path, tiny_stable: Path) -> None:
    assert find_checkpoint(str(folder)) == folder
    assert checkpoint_sha256(folder) == checkpoint_sha256(tiny_stable)


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_every_file_that_is_loaded_is_in_the_hash(
    folder: Path, tiny_stable: Path, name: str
) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert checkpoint_sha256(folder) != checkpoint_sha256(tiny_stable)


def test_another_name_or_cut_between_files_is_another_hash(folder: Path, tiny_stable: Path) -> None:
    (folder / "tokenizer" / "merges.txt").rename(folder / "tokenizer" / "merger.txt")
    assert checkpoint_sha256(folder) != checkpoint_sha256(tiny_stable)


def test_what_is_never_loaded_is_not_in_the_hash(folder: Path, tiny_stable: Path) -> None:
    (folder / "unet" / "model.bin").write_bytes(b"a pickle")
    assert checkpoint_sha256(folder) == checkpoint_sha256(tiny_stable)


def test_other_pipelines_and_missing_parts_are_refused(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "model.bin")
    with pytest.raises(GeneratorError, match="pickled"):
        find_checkpoint(str(folder))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "Other"}))
    with pytest.raises(GeneratorError, match="Other"):
        find_checkpoint(str(folder))
    (folder / "model_index.json").unlink()
    with pytest.raises(GeneratorError, match="diffusers' layout"):
        find_checkpoint(str(folder))


def test_what_is_neither_a_folder_nor_a_hub_id_is_refused() -> None:
    with pytest.raises(GeneratorError, match="neither a folder nor a Hub id"):
        find_checkpoint("no such folder")


def test_a_hub_checkpoint_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(GeneratorError, match="could not be fetched"):
        find_checkpoint("nobody/nothing-of-the-kind")
