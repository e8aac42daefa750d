"""Received bundles and signed approvals on disk.

A bundle is kept byte for byte and checked against its hash each time it is read. An approval is
believed only with the site's own signature; a file that was altered is refused, not repaired.
And never against the ledger: what was revoked or rejected there is so for good, whatever a file
says that was written later, by a colleague or after a crash, or was put back.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from datasites.errors import DamagedFileError, DatasitesError, PlanError, Reason, RefusedError
from datasites.plans import (
    APPROVAL_FORMAT,
    APPROVED,
    MODEL_FILE,
    PLAN_FILE,
    Approval,
    Bundle,
    open_bundle,
    read_record,
    sign_approval,
    verify_approval,
)
from datasites.site.site import Site, write_file, write_json
from privacy import EntryKind, PrivacyError, entries_of_kind

_CLOSING = (EntryKind.APPROVAL_REVOKED, EntryKind.PLAN_REJECTED)


@dataclass(frozen=True)
class Submission:
    """A received bundle.

    Attributes:
        bundle: what was sent.
        sender: the authenticated researcher, with
        sender_key: the fingerprint of their key.
        job: the syft job it came as.
        received: UTC time.
    """

    bundle: Bundle
    sender: str
    sender_key: str
    job: str
    received: str


@dataclass(frozen=True)
class Seen:
    """What is found where a plan was kept.

    Attributes:
        plan: the hash it was kept under.
        submission: what was received, None when the plan or its decision was altered.
        approval: the decision on it, None while there is none.
        problem: what was altered, and where.
    """

    plan: str
    submission: Submission | None = None
    approval: Approval | None = None
    problem: str = ""


class PlanStore:
    """The plans of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._plans = site.root / "plans"
        self._approvals = site.root / "approvals"
        self._closed: frozenset[str] = frozenset()
        self._closed_at_bytes = -1

    def add(self, submission: Submission) -> None:
        """Keep a received bundle; the same bundle from the same sender is kept once."""
        folder = self._plans / submission.bundle.sha256
        for name, data in submission.bundle.files.items():
            write_file(folder / name, data)
        about = {
            "sender": submission.sender,
            "sender_key": submission.sender_key,
            "job": submission.job,
            "received": submission.received,
        }
        # Last: a submission exists once this file does.
        write_json(folder / "submission.json", about)

    def all(self) -> list[Submission]:
        """Every submission, oldest first."""
        found = [self.get(path.parent.name) for path in self._plans.glob("*/submission.json")]
        return sorted(found, key=lambda submission: submission.received)

    def intact(self) -> list[tuple[Submission, Approval | None]]:
        """Every submission with its decision, without altered ones: they stop nobody else's."""
        return [(seen.submission, seen.approval) for seen in self.seen() if seen.submission]

    def seen(self) -> list[Seen]:
        """What lies here, altered plans and decisions included, by hash."""
        found = []
        for path in sorted(self._plans.glob("*/submission.json")):
            plan = path.parent.name
            try:
                found.append(Seen(plan, self.get(plan), self.approval(plan)))
            except DatasitesError as error:
                found.append(Seen(plan, problem=str(error)))
        return found

    def get(self, plan: str) -> Submission:
        """The submission whose hash is, or begins with, `plan` (at least 6 digits).

        Raises:
            PlanError: there is none, or more than one.
            RefusedError: its bytes are not the received ones.
        """
        pattern = f"{plan}*" if len(plan) >= 6 and plan.isalnum() else ""
        matches = sorted(self._plans.glob(f"{pattern}/submission.json")) if pattern else []
        if len(matches) != 1:
            known = ", ".join(sorted(path.parent.name[:12] for path in self._plans.glob("*/")))
            raise PlanError(f"{len(matches)} plans match {plan!r}; known here: {known or 'none'}")
        folder = matches[0].parent
        files = {
            name: (folder / name).read_bytes()
            for name in (PLAN_FILE, MODEL_FILE)
            if (folder / name).exists()
        }
        bundle = None
        with suppress(PlanError):  # what arrived was a plan; what no longer is one was altered
            bundle = open_bundle(files)
        if bundle is None or bundle.sha256 != folder.name:
            raise RefusedError(
                Reason.PLAN_CHANGED,
                f"the bytes of plan {folder.name[:12]} in {folder} are not the received ones",
            )
        try:
            return Submission(bundle=bundle, **read_record(matches[0]))
        except (DamagedFileError, TypeError) as error:
            raise RefusedError(
                Reason.PLAN_CHANGED, f"{matches[0]} does not say who sent the plan: {error}"
            ) from error

    def approval(self, plan_sha256: str) -> Approval | None:
        """The decision on a plan, None when there is none yet; what the ledger closed is revoked.

        Raises:
            RefusedError: the file was altered.
        """
        approval = self._kept(plan_sha256)
        if approval is not None and approval.decision == APPROVED and self.is_closed(plan_sha256):
            return replace(approval, revoked=True)
        return approval

    def is_closed(self, plan_sha256: str) -> bool:
        """Whether the ledger says that an approval of the plan was revoked, or it was rejected."""
        size_bytes = self._site.ledger_path.stat().st_size
        if size_bytes != self._closed_at_bytes:
            found = entries_of_kind(self._site.ledger_path, *_CLOSING)
            self._closed = frozenset(entry.resource for _, entry in found)
            self._closed_at_bytes = size_bytes
        return plan_sha256 in self._closed

    def _kept(self, plan_sha256: str) -> Approval | None:
        path = self._approvals / f"{plan_sha256}.json"
        if not path.exists():
            return None
        try:
            record = read_record(path)
            if record.get("format") != APPROVAL_FORMAT:
                raise ValueError(f"it is not of the format {APPROVAL_FORMAT}")
            fields = record["approval"]
            approval = Approval(**{**fields, "reviewers": tuple(fields["reviewers"])})
            verify_approval(
                approval, signature=record["signature"], public_hex=self._site.key.public_hex
            )
        except (
            DamagedFileError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            PrivacyError,
        ) as error:
            raise RefusedError(
                Reason.NOT_APPROVED,
                f"{path} is not a decision this site signed ({error}); decide again",
            ) from error
        return approval

    def decide(self, approval: Approval) -> None:
        """Keep a decision, signed."""
        signature = sign_approval(approval, self._site.key)
        record = {
            "format": APPROVAL_FORMAT,
            "approval": asdict(approval),
            "signature": signature,
        }
        write_json(self._approvals / f"{approval.plan_sha256}.json", record)

    def last_approved(self, study: str, *, before: str) -> Bundle | None:
        """The last approved bundle of a study other than `before`, to show differences from."""
        approved = [
            (approval.decided, submission.bundle)
            for submission, approval in self.intact()
            if submission.bundle.sha256 != before
            and submission.bundle.plan.study == study
            and approval is not None
            and approval.decision == APPROVED
            and not approval.revoked
        ]
        return max(approved, key=lambda pair: pair[0])[1] if approved else None
