"""Every error the orchestrator package raises.

    OrchestratorError
    ├── StudyError                   a study, its settings or a file it names is missing or wrong
    │   └── StrategyError            an aggregation strategy is unknown, or its settings are wrong
    ├── HospitalRefusedError         a hospital does not do what was asked; carries its coded reason
    ├── RelayUnreachableError        the storage that carries messages cannot be reached
    ├── RoundError                   a round cannot be started or finished
    │   ├── QuorumError              fewer hospitals answered than the study or the strategy needs
    │   ├── UpdateRefusedError       a hospital's update failed a check; carries a coded reason
    │   └── AggregationError         the updates of a round cannot be made into one model
    ├── VerificationError            a receipt, a ledger or a weights file is not what was signed
    │   └── HospitalDocumentError    a hospital's document is not what it should be; carries a code
    ├── EvaluationError              a model cannot be scored on the data that was named
    ├── ReportingError               a picture or a report cannot be made from what was given
    └── StudyInterruptedError        the person stopped it; `resume` continues

`exit_code` is what the command line returns:

    2    bad input: a file, a setting or a name is wrong (the default of the tree)
    3    a hospital refused
    4    relay or network
    5    quorum not reached
    6    verification failed: an update, a receipt, a ledger or a file is not what it should be
    130  interrupted
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class OrchestratorError(Exception):
    """Base of all errors of this package."""

    exit_code: ClassVar[int] = 2


class StudyError(OrchestratorError):
    """A study, one of its settings or a file it names is missing, half-written or wrong."""


class StrategyError(StudyError):
    """An aggregation strategy is unknown, or one of its settings is wrong or unused."""


class HospitalRefusedError(OrchestratorError):
    """A hospital does not do what was asked.

    Attributes:
        hospital: the hospital's name.
        reason_code: the coded reason, the only thing that a hospital says about a refusal.
    """

    exit_code = 3

    def __init__(self, hospital: str, reason_code: str, message: str) -> None:
        super().__init__(f"{hospital}: {message} [{reason_code}]")
        self.hospital = hospital
        self.reason_code = reason_code


class RelayUnreachableError(OrchestratorError):
    """The storage that carries messages cannot be reached, or vanished."""

    exit_code = 4


class RoundError(OrchestratorError):
    """A round cannot be started or finished."""


class QuorumError(RoundError):
    """Fewer hospitals answered than the study's quorum or its strategy needs.

    Attributes:
        needed: how many updates are needed.
        received: how many usable ones there are.
    """

    exit_code = 5

    def __init__(self, message: str, *, needed: int, received: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.received = received


class UpdateReason(StrEnum):
    """Why an update is not let into an aggregate."""

    UNITS_INVALID = "units_invalid"
    PRIVACY_INVALID = "privacy_invalid"
    RECEIPT_INVALID = "receipt_invalid"
    NAMES_DIFFER = "names_differ"
    SHAPE_DIFFERS = "shape_differs"
    DTYPE_DIFFERS = "dtype_differs"
    BUFFER_CHANGED = "buffer_changed"
    NO_GENERATOR = "no_generator"
    MAKE_DIFFERS = "make_differs"
    NOT_FINITE = "not_finite"
    NORM_TOO_LARGE = "norm_too_large"
    NOT_SCORABLE = "not_scorable"


class UpdateRefusedError(RoundError):
    """A hospital's update failed a check and stays out of the aggregate.

    Attributes:
        hospital: whose update it is.
        reason_code: which check it failed.
    """

    exit_code = 6

    def __init__(self, hospital: str, reason_code: UpdateReason, message: str) -> None:
        super().__init__(f"update of {hospital} refused: {message} [{reason_code}]")
        self.hospital = hospital
        self.reason_code = reason_code


class AggregationError(RoundError):
    """The updates of a round cannot be made into one model."""

    exit_code = 6


class VerificationError(OrchestratorError):
    """A receipt, a ledger or a weights file is not what was signed."""

    exit_code = 6


class Document(StrEnum):
    """Why a document of a hospital is not taken; `refusals` and the status of a study say so."""

    NO_CARD = "no_card"
    BAD_CARD = "bad_card"
    BAD_DECISION = "bad_decision"
    BAD_ANSWER = "bad_answer"
    BAD_RECEIPT = "bad_receipt"
    BAD_REPORT = "bad_report"
    BAD_NOTICE = "bad_notice"
    BAD_EVALUATION = "bad_evaluation"


class HospitalDocumentError(VerificationError):
    """A hospital's document is not what it should be; this hospital alone is left out.

    Attributes:
        hospital: whose it is.
        reason_code: which document it is.
    """

    def __init__(self, hospital: str, reason_code: Document, message: str) -> None:
        super().__init__(f"{hospital}: {message} [{reason_code}]")
        self.hospital = hospital
        self.reason_code = reason_code


class EvaluationError(OrchestratorError):
    """A model cannot be scored on the data that was named."""


class ReportingError(OrchestratorError):
    """A picture or a report cannot be made from what was given."""


class StudyInterruptedError(OrchestratorError):
    """The person stopped a run; nothing is lost that a checkpoint holds."""

    exit_code = 130
