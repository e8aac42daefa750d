"""Every error the datasites package raises.

    DatasitesError
    ├── SettingsError        a settings file or folder is missing, half-written or wrong
    ├── PlanError            a plan is malformed, inconsistent or larger than allowed
    ├── RefusedError         this hospital does not do what was asked; carries a coded reason
    ├── SandboxError         no sandbox is to be had, or a job broke its limits
    ├── OutputError          a job's output is not what its plan declared
    ├── DeskError            a release decision is impossible (unknown item, decided already)
    ├── RelayError           the storage that carries messages is missing, unreachable or odd
    │   └── MailboxError     one participant's folder on it cannot be written to
    ├── PeerKeyError         a peer's key is not the one that was compared and approved
    ├── MessageError         an inbound message breaks a rule; carries a coded reason
    └── SiteBusyError        another agent already serves this site

`exit_code` is what the command line returns: 2 bad input, 3 refused by a hospital's rules,
4 relay or network, 6 verification failed. Only `RefusedError.code` and `MessageError.code`
ever cross a hospital's boundary; messages and paths stay on this machine.
"""

from __future__ import annotations

from enum import StrEnum


class DatasitesError(Exception):
    """Base of all errors of this package."""

    exit_code = 2


class SettingsError(DatasitesError):
    """A settings file or folder is missing, half-written or wrong."""


class PlanError(DatasitesError):
    """A plan is malformed, inconsistent or larger than allowed."""


class Reason(StrEnum):
    """The coded reasons that may cross a hospital's boundary. Nothing else does."""

    NOT_APPROVED = "not_approved"
    REJECTED_BY_OWNER = "rejected_by_owner"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_REVOKED = "approval_revoked"
    ROUNDS_USED_UP = "rounds_used_up"
    ROUND_OUT_OF_ORDER = "round_out_of_order"
    PARAMETER_OUT_OF_RANGE = "parameter_out_of_range"
    PLAN_CHANGED = "plan_changed"
    RUNTIME_CHANGED = "runtime_changed"
    DATASET_CHANGED = "dataset_changed"
    BUDGET_EXCEEDED = "budget_exceeded"
    WRONG_RESEARCHER = "wrong_researcher"
    MALFORMED_REQUEST = "malformed_request"
    DUPLICATE_REQUEST = "duplicate_request"
    GENERATOR_MISSING = "generator_missing"
    JOB_FAILED = "job_failed"
    JOB_INTERRUPTED = "job_interrupted"
    OUTPUT_REFUSED = "output_refused"
    NO_SANDBOX = "no_sandbox"
    WITHHELD_BY_OWNER = "withheld_by_owner"
    PEER_UNPAIRED = "peer_unpaired"
    RERUN_NEEDS_LEAVE = "rerun_needs_leave"
    TOO_MANY_REQUESTS = "too_many_requests"


class RefusedError(DatasitesError):
    """This hospital does not do what was asked.

    Attributes:
        code: the coded reason, the only part that the researcher is told.
    """

    exit_code = 3

    def __init__(self, code: Reason, message: str) -> None:
        super().__init__(message)
        self.code = code


class SandboxError(DatasitesError):
    """No sandbox is to be had, or a job broke its limits."""


class OutputError(DatasitesError):
    """A job's output is not what its plan declared."""


class DeskError(DatasitesError):
    """A release decision is impossible: unknown item, or decided already."""


class RelayError(DatasitesError):
    """The storage that carries messages is missing, unreachable or odd."""

    exit_code = 4


class MailboxError(RelayError):
    """One participant's folder on the relay cannot be written to; the relay itself is there."""


class PeerKeyError(DatasitesError):
    """A peer's key is not the one that was compared and approved."""

    exit_code = 6


class MessageError(DatasitesError):
    """An inbound message breaks a rule.

    Attributes:
        code: a short coded reason for the audit log.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SiteBusyError(DatasitesError):
    """Another agent already serves this site."""
