"""Where a Stable Diffusion checkpoint's files come from: a local folder or the Hub. IO.

A Hub id is fetched into a snapshot folder first (safetensors, JSON and the tokenizer's text only),
and a folder is all that is ever loaded. Refused: a folder that is no Stable Diffusion pipeline, or
one without safetensors. No pickle is read, and no code that comes with a checkpoint is ever run.

A checkpoint is known by the SHA-256 over the names and contents of everything that is loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Final

from models.errors import GeneratorError

PARTS: Final = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
_WITH_WEIGHTS: Final = ("text_encoder", "unet", "vae")
_INDEX: Final = "model_index.json"
_PIPELINE: Final = "StableDiffusionPipeline"
_SUFFIXES: Final = frozenset({".json", ".safetensors", ".txt"})
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CHUNK: Final = 1 << 20


def find_checkpoint(source: str) -> Path:
    """The folder of a checkpoint; from the Hub, fetch it.

    Args:
        source: a folder in diffusers' layout, or a Hub id ("owner/name").

    Raises:
        GeneratorError: nothing usable there; says what is missing.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _from_hub(source)
    _check(folder)
    return folder


def checkpoint_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of a checkpoint's files, in order of name.

    Raises:
        GeneratorError: the folder holds no Stable Diffusion checkpoint.
    """
    _check(folder)
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(path.stat().st_size.to_bytes(8, "big"))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    inside = [
        path
        for part in PARTS
        for path in (folder / part).rglob("*")
        if path.is_file() and path.suffix in _SUFFIXES
    ]
    return sorted([folder / _INDEX, *inside])


def _check(folder: Path) -> None:
    try:
        index = json.loads((folder / _INDEX).read_bytes())
    except (OSError, ValueError) as error:
        raise GeneratorError(
            f"{folder} has no readable {_INDEX}; give a checkpoint in diffusers' layout"
        ) from error
    name = index.get("_class_name") if isinstance(index, dict) else None
    if name != _PIPELINE:
        raise GeneratorError(f"{folder} holds a {str(name)[:60]!r}; only {_PIPELINE} is adapted")
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    missing += [part for part in _WITH_WEIGHTS if not any((folder / part).glob("*.safetensors"))]
    if missing:
        raise GeneratorError(
            f"{folder} lacks {missing[0]}, or its safetensors; pickled weights are never loaded, "
            "convert them"
        )


def _from_hub(name: str) -> Path:
    if not _HUB_ID.fullmatch(name):
        raise GeneratorError(
            f"{name!r} is neither a folder nor a Hub id; give a checkpoint in diffusers' layout, "
            "or an id such as owner/name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [f"{part}/*{suffix}" for part in PARTS for suffix in sorted(_SUFFIXES)]
    try:
        return Path(snapshot_download(name, allow_patterns=[_INDEX, *wanted]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise GeneratorError(
            f"Hub checkpoint {name!r} could not be fetched; check the id, the network and your "
            "rights, or give a local folder"
        ) from error
