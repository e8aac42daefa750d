"""The bundle: the exact bytes a plan consists of, and the hash that an approval pins.

A bundle holds `plan.json` and, when the plan names `model.py` as its model, that file; nothing
else. Its hash covers each file's name and bytes. Pure functions over values.

The bytes of `plan.json` are exactly what `plan_bytes` writes for what they parse to, else the
bundle is refused, at the researcher and at the hospital. So nothing can be shown that does not
run: of a key that comes twice the last one counts, but a reviewer may see the first; a carriage
return writes over what a terminal showed; what stands after the document is read by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

from datasites.errors import PlanError
from datasites.plans.plan import MODEL_FILE, PLAN_FILE, Plan, parse_plan, plan_bytes
from privacy import digest, sha256_hex

MAX_FILE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Bundle:
    """A plan and the bytes that carry it.

    Attributes:
        plan: the parsed plan.
        files: name to bytes, exactly what is hashed, reviewed and run.
        sha256: the bundle's hash, by which everything refers to it.
    """

    plan: Plan
    files: Mapping[str, bytes]
    sha256: str

    @property
    def model_text(self) -> str | None:
        """The text of the bundle's `model.py`, None for a registered classifier."""
        data = self.files.get(MODEL_FILE)
        return None if data is None else data.decode()


def make_bundle(plan: Plan, model_text: str | None) -> Bundle:
    """The bundle of a plan and, where the plan asks for one, its model file.

    Raises:
        PlanError: the model file is missing or superfluous.
    """
    files = {PLAN_FILE: plan_bytes(plan)}
    if model_text is not None:
        files[MODEL_FILE] = model_text.encode()
    return open_bundle(files)


def open_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Check received files and parse the plan in them.

    Raises:
        PlanError: a file is missing, unknown, too large or not text, the plan is invalid, or its
            bytes are not the canonical ones of what they parse to.
    """
    unknown = sorted(set(files) - {PLAN_FILE, MODEL_FILE})
    if unknown:
        raise PlanError(f"a bundle holds {PLAN_FILE} and {MODEL_FILE} only, not {unknown}")
    if PLAN_FILE not in files:
        raise PlanError(f"the bundle holds no {PLAN_FILE}")
    for name, data in files.items():
        if len(data) > MAX_FILE_BYTES:
            raise PlanError(f"{name} has {len(data)} bytes; at most {MAX_FILE_BYTES} are allowed")
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise PlanError(f"{name} is not UTF-8 text: {error}") from error
    plan = parse_plan(files[PLAN_FILE])
    _must_be_canonical(files[PLAN_FILE], plan)
    wanted = plan.model.name == MODEL_FILE
    if wanted != (MODEL_FILE in files):
        raise PlanError(
            f"the plan's model is {plan.model.name!r}, so {MODEL_FILE} must "
            + ("come with it" if wanted else "not come with it")
        )
    manifest = {name: sha256_hex(data) for name, data in files.items()}
    return Bundle(plan=plan, files=dict(files), sha256=digest(manifest))


def _must_be_canonical(found: bytes, plan: Plan) -> None:
    """What people read and what is parsed are one thing: one plan, one sequence of bytes."""
    wanted = plan_bytes(plan)
    if found == wanted:
        return
    pairs = zip_longest(found.split(b"\n"), wanted.split(b"\n"))
    number, (mine, canonical) = next(
        (number, pair) for number, pair in enumerate(pairs, start=1) if pair[0] != pair[1]
    )
    raise PlanError(
        f"{PLAN_FILE} is not written as what it parses to: line {number} is {_line(mine)}, its "
        f"canonical form is {_line(canonical)}. A key that comes twice, other spaces, line ends or "
        "order, and anything after the plan are refused, so that what a reviewer reads is what "
        "runs; `dura study submit` writes the canonical form"
    )


def _line(line: bytes | None) -> str:
    return "missing" if line is None else ascii(line[:60].decode(errors="replace"))
