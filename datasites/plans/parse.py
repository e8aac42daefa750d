"""Documents from outside, parsed once: into a checked value, or one error that names the fault.

Whatever others send (plans, tasks, cards, decisions, answers, reports) and what a site keeps of its
own is read here, by its model, and nowhere else. Refused are more bytes than `limit_bytes`, what
is no JSON in UTF-8, nesting without end, unknown and missing fields, values of another type (a
`true` is no number, a text is neither), NaN and infinity in any spelling, and a name that comes
twice in an object, of which two readers may take two values. What a number may be is its model's
business; the types here are what most of them use.
"""

from __future__ import annotations

import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from datasites.errors import DamagedFileError, PlanError

T = TypeVar("T", bound=BaseModel)
V = TypeVar("V")

MAX_SETTINGS_BYTES = 1024 * 1024
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MOST_UNITS = 1e9
"""More units than people one hospital can have seen: what claims more is no count."""
MOST_COUNT = 1e10
"""Beyond any noised count of a unit's cases, with the largest noise that a plan may ask for."""
MOST_EPSILON = 1e12
"""Far beyond what any plan within its bounds can cost; a figure, and nothing that overflows."""
NO_FILE = (IsADirectoryError, NotADirectoryError, PermissionError)
"""What stays so until a person mends it; a disk that fails is tried again."""
_YEARS = (2000, 2199)


def _utc(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("not a time in ISO 8601") from error
    offset = moment.utcoffset()
    if offset is None or offset or not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise ValueError(f"not a UTC time between the years {_YEARS[0]} and {_YEARS[1]}")
    return text


Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
"""A name or an id that may become a file's name."""
ShortText = Annotated[str, StringConstraints(max_length=200)]
UtcTime = Annotated[str, StringConstraints(max_length=40), AfterValidator(_utc)]
NoisedCount = Annotated[float, Field(ge=0, le=MOST_COUNT)]
Epsilon = Annotated[float, Field(ge=0, le=MOST_EPSILON)]


def parse_model(
    model: type[T], data: bytes, *, what: str, limit_bytes: int = MAX_DOCUMENT_BYTES
) -> T:
    """Validate JSON `data` as `model`; see the module's docstring.

    Raises:
        PlanError: one line a fault: the field, what was found, what is allowed.
    """
    return parse_as(pydantic.TypeAdapter(model), data, what=what, limit_bytes=limit_bytes)


def parse_as(
    adapter: pydantic.TypeAdapter[V],
    data: bytes,
    *,
    what: str,
    limit_bytes: int = MAX_DOCUMENT_BYTES,
) -> V:
    """`parse_model` for any type that pydantic can check, such as a choice of models.

    Raises:
        PlanError: as there.
    """
    if len(data) > limit_bytes:
        raise PlanError(f"the {what} has {len(data)} bytes; at most {limit_bytes} are read")
    try:
        found = adapter.validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        raise PlanError(f"the {what} is not valid: {explain(error)}") from error
    try:  # its parser bounds nesting and length of numbers, so this one meets neither
        json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except ValueError as error:
        raise PlanError(f"the {what} is not valid: {error}") from error
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a settings file that a person writes.

    Raises:
        FileNotFoundError: there is none.
        PlanError: it cannot be read, is no TOML, or larger, deeper or longer in a number than any
            settings are.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SETTINGS_BYTES + 1)
        if len(data) > MAX_SETTINGS_BYTES:
            raise PlanError(f"{path} has more than {MAX_SETTINGS_BYTES} bytes; no settings do")
        return tomllib.loads(data.decode())
    except FileNotFoundError:
        raise
    except RecursionError as error:
        raise PlanError(f"{path} cannot be read: it is nested too deeply") from error
    except (ValueError, OSError) as error:  # what is no TOML, no UTF-8, or no number of Python's
        raise PlanError(f"{path} cannot be read: {str(error)[:300]}") from error


def read_record(path: Path) -> dict[str, Any]:
    """A record that this site wrote for itself, and that may be damaged since.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no JSON object, or no file that this account can read.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError, *NO_FILE) as error:
        raise DamagedFileError(f"{path} is damaged: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path} is damaged: it holds no JSON object")
    return found


def explain(error: pydantic.ValidationError) -> str:
    """The faults of a validation, as `field: what is wrong (found ...)`."""
    return "; ".join(_fault(fault) for fault in error.errors()[:5])


def _fault(fault: Any) -> str:
    where = ".".join(str(part)[:60] for part in fault["loc"][:8]) or "the document"
    if where == "relay":  # a URL into which somebody put a password is not repeated
        return f"{where}: {fault['msg']}"
    said = fault["msg"].lower()[:300]  # it may quote what was found, whole
    return f"{where}: {said} (found {_shown(fault['input'])})"


def _shown(value: object) -> str:
    try:
        return repr(str(value)[:60])
    except ValueError:  # an integer of thousands of digits has no text
        return "a number of thousands of digits"


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} comes twice in one object")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number")
