"""Rules for what may cross the wire, and syft's message container with limits.

Pure functions. Inbound at a site: only job files, only below the sender's own inbox folder.
Inbound at a researcher: only the site's own card and its new key, and state and output files of
jobs that the researcher submitted. Names are plain: no hidden files, no `..`, no absolute path,
no control characters. Everything else raises `MessageError` with a coded reason.

The container is syft's (a tar.gz with one member), written for speed and read with a cap on the
unpacked size while streaming, so that a decompression bomb costs at most the cap.
The JSON in it has a cap on the number of its values, so that a bomb of small values (a kilobyte
that unpacks to a million numbers, each a parsed object) is refused before it is parsed.
"""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import Any

from datasites.errors import MessageError

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
MAX_PLAIN_BYTES = 384 * 1024 * 1024
MAX_FILES = 64
MAX_VALUES = 200_000
CARD_PATH = PurePosixPath("public/dura/card.json")
KEY_PATH = PurePosixPath("public/dura/key.json")
STATE_FILE = "state.yaml"

_MEMBER = "proposed_file_changes.json"
# syft's permission files are names like any other to a path rule, so they are excluded by name.
_PLAIN_NAME = re.compile(r"(?!(?i:syft\.pub\.yaml)$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CHUNK = 1024 * 1024


def pack(payload: bytes) -> bytes:
    """A syft message container around `payload`.

    Contents are base64 of random-looking bytes: six bits in eight. Huffman coding alone wins
    that back and looks for no repetition, which took most of the time a large file needed.
    """
    info = tarfile.TarInfo(name=_MEMBER)
    info.size = len(payload)
    padding = -len(payload) % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 31, 9, zlib.Z_HUFFMAN_ONLY)
    return b"".join(
        (
            squeeze.compress(info.tobuf()),
            squeeze.compress(payload),
            squeeze.compress(bytes(padding)),
            squeeze.flush(),
        )
    )


def unpack(data: bytes, *, limit_bytes: int = MAX_PLAIN_BYTES) -> bytes:
    """The payload of syft's message container.

    Raises:
        MessageError: `malformed`, or `too_large` when it unpacks to more than `limit_bytes`.
    """
    plain = _gunzip(data, limit_bytes)
    try:
        # One header, read alone: tarfile's own walk follows links, sparse maps and header chains.
        info = tarfile.TarInfo.frombuf(plain[: tarfile.BLOCKSIZE], "utf-8", "strict")
    except (tarfile.TarError, ValueError) as error:
        raise MessageError("malformed", f"not a syft message container: {error}") from error
    payload = plain[tarfile.BLOCKSIZE :][: max(info.size, 0)]
    if (info.name, info.type, info.size) != (_MEMBER, tarfile.REGTYPE, len(payload)):
        raise MessageError("malformed", "the message's container does not hold one whole file")
    return payload


def _gunzip(data: bytes, limit_bytes: int) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    out = bytearray()
    try:
        rest = data
        while rest and not unzip.eof:
            out += unzip.decompress(rest, _CHUNK)
            rest = unzip.unconsumed_tail
            if len(out) > limit_bytes:
                raise MessageError("too_large", f"unpacks to more than {limit_bytes} bytes")
    except zlib.error as error:
        raise MessageError("malformed", f"not gzip: {error}") from error
    return bytes(out)


def parse_object(plain: bytes, *, items: str) -> dict[str, Any]:
    """The JSON object in a message, whose list `items` is short and holds objects only.

    Raises:
        MessageError: `malformed`, `too_many_files`, or `too_large` when it holds more values than
            any honest message.
    """
    if sum(plain.count(mark) for mark in (b",", b"[", b"{", b":")) > MAX_VALUES:
        raise MessageError("too_large", f"holds more than {MAX_VALUES} values")
    try:
        found = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise MessageError("malformed", f"not JSON: {error}"[:200]) from error
    listed = found.get(items) if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise MessageError("malformed", f"not an object with a list of objects {items!r}")
    if len(listed) > MAX_FILES:
        raise MessageError("too_many_files", f"more than {MAX_FILES} files")
    return found


def check_job_name(name: str) -> str:
    """Return `name` if it is a plain job name.

    Raises:
        MessageError: `bad_name`.
    """
    if not _PLAIN_NAME.fullmatch(name) or re.fullmatch(r"v\d+", name):
        raise MessageError(
            "bad_name", f"{name!r} is not a job name: letters, digits, . _ -, at most 100"
        )
    return name


def inbox_prefix(sender: str) -> PurePosixPath:
    """The folder of a datasite below which `sender` may put job files."""
    return PurePosixPath("app_data/job/inbox", sender, "v1")


def review_prefix(recipient: str) -> PurePosixPath:
    """The folder of a datasite below which states and outputs for `recipient` lie."""
    return PurePosixPath("app_data/job/review", recipient, "v1")


def inbound_job_file(path: str, *, sender: str) -> tuple[str, PurePosixPath]:
    """The job's name and the file's path inside the job folder, of a path a sender proposes.

    Raises:
        MessageError: `bad_path` for anything but `code/<file>`, `run.sh` or `config.yaml` of a
            plainly named job in the sender's own inbox.
    """
    job, inside = _below(path, inbox_prefix(sender))
    shape = inside.parts
    is_code = len(shape) == 2 and shape[0] == "code" and _PLAIN_NAME.fullmatch(shape[1])
    if not is_code and shape not in (("run.sh",), ("config.yaml",)):
        raise MessageError("bad_path", f"{path!r} is not a job file")
    return job, inside


def inbound_result_file(path: str, *, recipient: str) -> tuple[str, str]:
    """The job's name and the file's name, of a path a site sends to a researcher.

    Raises:
        MessageError: `bad_path` for anything but a state file or an output of a job of the
            recipient's.
    """
    job, inside = _below(path, review_prefix(recipient))
    shape = inside.parts
    if shape == (STATE_FILE,):
        return job, STATE_FILE
    if len(shape) == 2 and shape[0] == "outputs" and _PLAIN_NAME.fullmatch(shape[1]):
        return job, shape[1]
    raise MessageError("bad_path", f"{path!r} is neither a state file nor an output")


def _below(path: str, prefix: PurePosixPath) -> tuple[str, PurePosixPath]:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or str(pure) != path:
        raise MessageError("bad_path", f"{path!r} is not a plain relative path")
    depth = len(prefix.parts)
    if pure.parts[:depth] != prefix.parts or len(pure.parts) < depth + 2:
        raise MessageError("bad_path", f"{path!r} is not below {prefix}")
    return check_job_name(pure.parts[depth]), PurePosixPath(*pure.parts[depth + 1 :])
