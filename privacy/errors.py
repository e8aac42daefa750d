"""Everything that `privacy` refuses, as one tree.

Each message says what was wrong, the value, and what to do. None of these texts may cross a
hospital's boundary: callers map the class to a coded reason first.

    PrivacyError
    ├── CanonicalError            a value has no exact JSON form
    ├── SettingsError             settings of a trainer or a release are not usable
    ├── EventError                a privacy event is unknown, malformed or out of range
    ├── AccountantError           two accountants disagree about an epsilon: an alarm
    ├── CalibrationError          no noise multiplier reaches the target
    ├── BudgetError
    │   ├── BudgetAmountError     an epsilon or delta is not a usable amount
    │   └── BudgetExceededError   the spend asked for does not fit
    ├── LedgerError               an entry would make the ledger's story impossible
    │   ├── LedgerTamperedError   the file is not what was signed (names the entry)
    │   ├── LedgerBusyError       another process holds the ledger
    │   └── LedgerWriteError      the entry could not be made durable; nothing was added
    ├── SignatureError            a signature does not belong to key and payload
    ├── KeyFileError              a key file is missing, readable by others, or not a key
    └── GradientError             a per-unit gradient would be wrong for this model
"""

from collections.abc import Mapping


class PrivacyError(Exception):
    """Base of every error that this package raises on purpose."""


class CanonicalError(PrivacyError):
    """A value has no exact canonical JSON form (RFC 8785)."""


class SettingsError(PrivacyError):
    """Settings of a trainer or of a release are not usable."""


class EventError(PrivacyError):
    """A privacy event is unknown, malformed or out of range."""


class AccountantError(PrivacyError):
    """Accountants disagree beyond what their methods explain: no figure of them may be claimed.

    Attributes:
        record: epsilon by the accountant of record.
        opinions: second opinions, name -> epsilon.
        delta: the delta of all.
        disagreements: which one and why, one line each; not empty.
    """

    def __init__(
        self,
        *,
        record: float,
        opinions: Mapping[str, float],
        delta: float,
        disagreements: tuple[str, ...],
    ) -> None:
        self.record = record
        self.opinions = opinions
        self.delta = delta
        self.disagreements = disagreements
        super().__init__(
            f"the accountants disagree at delta {delta:g}: {'; '.join(disagreements)}; claim "
            "neither figure, take epsilon for infinite, and report it"
        )


class CalibrationError(PrivacyError):
    """No noise multiplier on the grid reaches the target epsilon."""


class BudgetError(PrivacyError):
    """Base of everything that is wrong with an amount of privacy."""


class BudgetAmountError(BudgetError):
    """An epsilon or a delta is not a usable amount."""


class BudgetExceededError(BudgetError):
    """The spend asked for does not fit into what is left of the budget.

    Attributes:
        epsilon_before: epsilon already spent or reserved, at `delta`.
        epsilon_after: epsilon if the spend were allowed, at `delta` (may be infinite).
        epsilon_budget: the budget's epsilon.
        delta: the budget's delta.
        whose: what the budget bounds: ``"hospital"``, ``"researcher NAME"``, ``"study NAME"``.
    """

    def __init__(
        self,
        *,
        epsilon_before: float,
        epsilon_after: float,
        epsilon_budget: float,
        delta: float,
        whose: str = "hospital",
    ) -> None:
        self.whose = whose
        self.epsilon_before = epsilon_before
        self.epsilon_after = epsilon_after
        self.epsilon_budget = epsilon_budget
        self.delta = delta
        super().__init__(
            f"the spend does not fit: epsilon {epsilon_before:.4f} is spent or reserved, it would "
            f"become {epsilon_after:.4f}, and the budget of the {whose} is {epsilon_budget:.4f} "
            f"(all at delta {delta:g}, add or remove one unit); ask for fewer steps or more noise, "
            "or let the owner raise the budget"
        )


class LedgerError(PrivacyError):
    """An entry is malformed, or would make the ledger's story impossible."""


class LedgerTamperedError(LedgerError):
    """The ledger's bytes are not what this key signed, in this order.

    Attributes:
        index: zero-based index of the first entry that cannot be right.
        reason: what about it is wrong.
    """

    def __init__(self, index: int, reason: str) -> None:
        self.index = index
        self.reason = reason
        super().__init__(
            f"ledger entry {index}: {reason}; keep the file as evidence, restore it from a backup "
            f"and compare it with the receipts that researchers hold"
        )


class LedgerBusyError(LedgerError):
    """Another process held the ledger for longer than we may wait."""


class LedgerWriteError(LedgerError):
    """An entry could not be made durable; the ledger is as it was before."""


class SignatureError(PrivacyError):
    """A signature does not belong to this key and payload, or is malformed."""


class KeyFileError(PrivacyError):
    """A key file is missing, exists already, can be read by others, or holds no Ed25519 key."""


class GradientError(PrivacyError):
    """A per-unit gradient would be wrong for this model, so clipping would protect nobody."""
