"""The owner's decision on a plan's synthetic images; nothing trains on them before it.

A generator leaves its images in the hospital's private store, where they wait; so do those drawn
there from other hospitals' generators (a pool). The owner looks (`datasites.owner.copy_check`) and
accepts or discards them, by name and with a reason; or said beforehand, as a term of the approval,
that they are accepted whatever they show. The decision is written into the ledger, then kept,
signed, for exactly these bytes: images that were made anew or altered wait again. Discarded images
are removed.

A person who looked decides from private images without noise: whether a plan goes on is then one
bit that no epsilon covers. Who accepts beforehand tells nothing: no rule compares with private
images, or a checkpoint made for the purpose would turn it into a question about one patient.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from datasites.desk import must_be_reviewer
from datasites.durable import write_file
from datasites.errors import DamagedFileError, DeskError, PlanError
from datasites.plans import read_record
from datasites.site import PlanStore, Site, desk_lock, now_utc, stamp, write_json
from datasites.worker import (
    POOLED_ABOUT,
    POOLED_IMAGES,
    POOLED_LABELS,
    POOLED_SOURCES,
    SYNTHETIC_IMAGES,
    SYNTHETIC_LABELS,
)
from privacy import EntryKind, JsonValue, PrivacyError, Purpose, sign_document, verify_document

__all__ = ["Synthetic", "accept_beforehand", "decide", "keep", "state_of"]

FORMAT = "dura.synthetic/2"
_OWN = (SYNTHETIC_IMAGES, SYNTHETIC_LABELS)
_POOLED = (POOLED_IMAGES, POOLED_LABELS, POOLED_SOURCES, POOLED_ABOUT)


class Synthetic(StrEnum):
    """What may be done with a plan's synthetic images."""

    MISSING = "missing"
    UNDECIDED = "undecided"
    ACCEPTED = "accepted"
    DISCARDED = "discarded"


@dataclass(frozen=True)
class Decision:
    """What was decided on which bytes.

    Attributes:
        plan_sha256: the plan. images_sha256: images and labels.
        state: accepted or discarded.
        actor: the owner, or whose rule it was. time: UTC.
    """

    plan_sha256: str
    images_sha256: str
    state: str
    actor: str
    time: str


def keep(site: Site, plan_sha256: str, files: dict[str, bytes]) -> None:
    """Put a generator's images into the private store, where they wait."""
    target = site.synthetic(plan_sha256)
    write_file(target / SYNTHETIC_LABELS, files[SYNTHETIC_LABELS])
    write_file(target / SYNTHETIC_IMAGES, files[SYNTHETIC_IMAGES])


def state_of(site: Site, plan_sha256: str) -> Synthetic:
    """What may be done with a plan's images; without a decision that holds: nothing."""
    found = _images_sha256(site, plan_sha256)
    decided = _decision(site, plan_sha256)
    if not found:
        gone = decided is not None and decided.state == Synthetic.DISCARDED
        return Synthetic.DISCARDED if gone else Synthetic.MISSING
    held = decided is not None and decided.images_sha256 == found
    if held and decided is not None and decided.state == Synthetic.ACCEPTED:
        return Synthetic.ACCEPTED
    return Synthetic.UNDECIDED


def decide(site: Site, plan: str, *, accept: bool, owner: str, reason: str) -> None:
    """The owner's decision: accept the images, or discard them for good.

    Raises:
        PlanError: no such plan or images, no name or reason, or decided already.
    """
    with desk_lock(site.root):
        _decide(site, plan, accept=accept, owner=owner, reason=reason)


def _decide(site: Site, plan: str, *, accept: bool, owner: str, reason: str) -> None:
    sha = PlanStore(site).get(plan).bundle.sha256
    allowed = site.settings.reviewers
    if not owner.strip() or not reason.strip():
        raise PlanError("say who decides and why: --as NAME --reason TEXT (they stay here)")
    try:
        owner = must_be_reviewer(owner, allowed)
    except DeskError as error:
        raise PlanError(str(error)) from error
    state = state_of(site, sha)
    if state in (Synthetic.MISSING, Synthetic.DISCARDED):
        raise PlanError(f"plan {sha[:12]} has no synthetic images here ({state.value})")
    if accept and state is Synthetic.ACCEPTED:
        raise PlanError(f"the synthetic images of plan {sha[:12]} were accepted already")
    wanted = Synthetic.ACCEPTED if accept else Synthetic.DISCARDED
    _record(site, sha, wanted, actor=owner, reason=reason)
    if not accept:
        for name in (*_POOLED, *_OWN):
            (site.synthetic(sha) / name).unlink(missing_ok=True)


def accept_beforehand(site: Site, plan_sha256: str, *, time: str = "") -> None:
    """Accept waiting images, at `time` (now), if an approval that holds says so; else they wait."""
    with desk_lock(site.root):
        _accept_beforehand(site, plan_sha256, time=time)


def _accept_beforehand(site: Site, plan_sha256: str, *, time: str) -> None:
    approval = PlanStore(site).approval(plan_sha256)
    if approval is None or approval.revoked or not approval.accept_synthetic:
        return
    if state_of(site, plan_sha256) is Synthetic.UNDECIDED:
        _record(
            site,
            plan_sha256,
            Synthetic.ACCEPTED,
            actor=", ".join(approval.reviewers),
            reason="accepted with the approval, whatever they show",
            time=time,
        )


def _record(
    site: Site, sha: str, state: Synthetic, *, actor: str, reason: str, time: str = ""
) -> None:
    time = time or stamp(now_utc())
    made = Decision(
        plan_sha256=sha,
        images_sha256=_images_sha256(site, sha),
        state=state.value,
        actor=actor,
        time=time,
    )
    accepted = state is Synthetic.ACCEPTED
    site.log(
        EntryKind.SYNTHETIC_ACCEPTED if accepted else EntryKind.SYNTHETIC_DISCARDED,
        actor=actor,
        action="accept synthetic images" if accepted else "discard synthetic images",
        resource=sha,
        reason=reason,
        detail={"images_sha256": made.images_sha256},
        time=time,
    )
    signature = sign_document(_body(made), purpose=Purpose.IMAGE_DECISION, key=site.key)
    write_json(_path(site, sha), {"decision": asdict(made), "signature": signature})


def _decision(site: Site, plan_sha256: str) -> Decision | None:
    """The decision that this site signed for the plan; an altered one is none."""
    damaged = (DamagedFileError, OSError, KeyError, TypeError, AttributeError, PrivacyError)
    with suppress(*damaged):
        record = read_record(_path(site, plan_sha256))
        made = Decision(**record["decision"])
        verify_document(
            _body(made),
            purpose=Purpose.IMAGE_DECISION,
            public_hex=site.key.public_hex,
            signature_hex=record["signature"],
        )
        return made if made.plan_sha256 == plan_sha256 else None
    return None


def _body(made: Decision) -> dict[str, JsonValue]:
    return {"format": FORMAT, **asdict(made)}


def _path(site: Site, plan_sha256: str) -> Path:
    return site.root / "approvals" / f"{plan_sha256}.synthetic.json"


def _images_sha256(site: Site, plan_sha256: str) -> str:
    """Hash of images and labels, a pool's included; empty while they are not there."""
    folder = site.synthetic(plan_sha256)
    names = (*_OWN, *_POOLED) if (folder / POOLED_IMAGES).exists() else _OWN
    try:
        marks = [(path, path.stat()) for path in (folder / name for name in names)]
    except FileNotFoundError:
        return ""
    return _hash(tuple((p, at.st_ino, at.st_mtime_ns, at.st_size) for p, at in marks))


@lru_cache(maxsize=64)
def _hash(files: tuple[tuple[Path, int, int, int], ...]) -> str:
    """Hash over files; an idle agent asks several times a second, so a file is read once."""
    total = hashlib.sha256()
    for path, *_ in files:
        data = path.read_bytes()
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()
