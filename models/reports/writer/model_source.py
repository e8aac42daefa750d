"""Where a language model's files come from: the shipped one, a local folder or the Hub. IO.

A Hub id is fetched into a snapshot folder first (weights as safetensors and JSON only), and a
folder is all that is ever loaded; so there is one way in. Refused: a folder without `config.json`
or without safetensors, and a source that is neither a folder nor a Hub id. No code that comes with
a model is ever run.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.reports.errors import WriterError
from models.weights import SHIPPED

SHIPPED_MODEL: Final = SHIPPED / "report_llama"
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WANTED: Final = ("*.json", "*.safetensors", "*.model", "*.jinja")
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A folder with a language model.

    Attributes:
        model_id: how the model is named in reports.
        folder: holds `config.json`, tokenizer and safetensors.
    """

    model_id: str
    folder: Path


def find_model(
    source: str | Path | None,
    *,
    revision: str | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
) -> ModelSource:
    """Find the folder of a model; from the Hub, fetch it.

    Args:
        source: None for the shipped model, a folder, or a Hub id ("owner/name").
        revision: branch, tag or commit of a Hub id.
        cache_dir: where the Hub's files are kept; None for the user's own place.
        offline: take a Hub id from `cache_dir` only.

    Raises:
        WriterError: nothing usable there.
    """
    if source is None:
        return _checked(ModelSource("report_llama", SHIPPED_MODEL))
    folder = Path(source)
    if folder.is_dir():
        return _checked(ModelSource(folder.resolve().name, folder))
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise WriterError(
            f"{str(source)!r} is neither a folder nor a Hub id; give a folder with config.json and "
            f"safetensors, or an id such as owner/name"
        )
    return _from_hub(source, revision=revision, cache_dir=cache_dir, offline=offline)


def files_sha256(source: ModelSource) -> str:
    """SHA-256 over the names and contents of a model's weight files, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(source.folder.glob("*.safetensors")):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _from_hub(
    name: str, *, revision: str | None, cache_dir: Path | None, offline: bool
) -> ModelSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=offline,
            allow_patterns=list(_WANTED),
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise WriterError(
            f"Hub model {name!r} could not be fetched; check the id, the network and your rights, "
            f"or give a local folder"
        ) from error
    return _checked(ModelSource(name, Path(folder)))


def _checked(source: ModelSource) -> ModelSource:
    if not (source.folder / "config.json").is_file():
        raise WriterError(f"model {source.model_id!r} has no config.json; give its own folder")
    if not any(source.folder.glob("*.safetensors")):
        raise WriterError(
            f"model {source.model_id!r} has no safetensors; convert its weights, pickled files are "
            f"never loaded"
        )
    return source
