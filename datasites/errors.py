"""Every error the datasites package raises.

    DatasitesError
    ├── SettingsError        a settings file or folder is missing, half-written or wrong
    ├── DamagedFileError     a file of this site's own cannot be read; what depends on it is refused
    ├── PlanError            a plan is malformed, inconsistent or larger than allowed
    ├── RefusedError         this hospital does not do what was asked; carries a coded reason
    ├── SandboxError         no sandbox is to be had, or a job broke its limits
    │   └── CleanUpError          what a job left on disk cannot be removed
    ├── OutputError          a job's output is not what its plan declared
    ├── DeskError            a release decision is impossible (unknown item, wrong words)
    │   ├── AlreadyDecidedError   somebody decided on the item before
    │   ├── StaleViewError        the item is not any more what the owner looked at
    │   ├── ReleaseRefusedError   the item may not leave; names the obstacle
    │   ├── EditRefusedError      an edit says what the facts do not bear out
    │   ├── RedactionError        a redaction would cover nothing, or what must stay readable
    │   └── RuleError             a release rule is impossible, unknown or altered
    ├── FormatError          a report cannot be written in the format that was asked for
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


class DamagedFileError(DatasitesError):
    """A file of this site's own cannot be read; what depends on it is refused."""


class PlanError(DatasitesError):
    """A plan is malformed, inconsistent or larger than allowed."""


class Reason(StrEnum):
    """The coded reasons that may cross a hospital's boundary. Nothing else does."""

    NOT_APPROVED = "not_approved"
    REJECTED_BY_OWNER = "rejected_by_owner"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_REVOKED = "approval_revoked"
    ROUNDS_USED_UP = "rounds_used_up"
    SLOT_TOO_LONG = "slot_too_long"
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
    ENCODER_MISSING = "encoder_missing"
    SYNTHETIC_UNDECIDED = "synthetic_undecided"
    SYNTHETIC_DISCARDED = "synthetic_discarded"
    JOB_FAILED = "job_failed"
    JOB_INTERRUPTED = "job_interrupted"
    OUTPUT_REFUSED = "output_refused"
    NO_SANDBOX = "no_sandbox"
    WITHHELD_BY_OWNER = "withheld_by_owner"
    WITHHELD_IDENTIFYING = "withheld_identifying"
    WITHHELD_INACCURATE = "withheld_inaccurate"
    PEER_UNPAIRED = "peer_unpaired"
    RERUN_NEEDS_LEAVE = "rerun_needs_leave"
    TOO_MANY_REQUESTS = "too_many_requests"
    LEDGER_BEHIND = "ledger_behind"


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


class CleanUpError(SandboxError):
    """What a job left on disk cannot be removed."""


class OutputError(DatasitesError):
    """A job's output is not what its plan declared."""


class DeskError(DatasitesError):
    """A release decision is impossible."""


class AlreadyDecidedError(DeskError):
    """Somebody decided on the item before."""


class StaleViewError(DeskError):
    """The item was changed since the owner looked at it."""


class Obstacle(StrEnum):
    """Why an item may not leave."""

    NOT_APPROVED = "not_approved"
    APPROVAL_REVOKED = "approval_revoked"
    NOT_VERIFIED = "not_verified"
    NOT_NOISED = "not_noised"
    NOT_COVERED = "not_covered"
    ALTERED = "altered"


class ReleaseRefusedError(DeskError):
    """The item may not leave.

    Attributes:
        obstacle: why not.
    """

    exit_code = 3

    def __init__(self, obstacle: Obstacle, message: str) -> None:
        super().__init__(message)
        self.obstacle = obstacle


class EditRefusedError(DeskError):
    """An edit says what the facts do not bear out."""

    exit_code = 6


class RedactionError(DeskError):
    """A redaction would cover nothing, or what must stay readable."""


class RuleError(DeskError):
    """A release rule is impossible, unknown or altered."""


class FormatError(DatasitesError):
    """A report cannot be written in the format that was asked for."""


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
