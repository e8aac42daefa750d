"""The privacy a hospital promises: events, epsilon, budget, ledger, receipts, DP-SGD.

What a privacy officer should read first: `privacy.accounting` (how epsilon is computed),
`privacy.filter` (why plans may be chosen late), `privacy.spend` (when a run is refused),
`privacy.ledger` and `privacy.chain` (why the record can be trusted), `privacy.dpsgd` (where the
noise comes in). Imports nothing of ours.

Names load when they are first used: importing this package takes milliseconds; the ledger needs
dp-accounting, and only DP-SGD needs PyTorch and Opacus.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy.accounting import ACCOUNTANT as ACCOUNTANT
    from privacy.accounting import Opinions as Opinions
    from privacy.accounting import agreed_opinions as agreed_opinions
    from privacy.accounting import epsilon as epsilon
    from privacy.accounting import evaluated_delta as evaluated_delta
    from privacy.accounting import guarantee as guarantee
    from privacy.accounting import interval_for as interval_for
    from privacy.accounting import naive_sum as naive_sum
    from privacy.accounting import second_opinions as second_opinions
    from privacy.accounts import Account as Account
    from privacy.accounts import Disclosed as Disclosed
    from privacy.accounts import Spend as Spend
    from privacy.accounts import SpendState as SpendState
    from privacy.amounts import LARGEST_DELTA as LARGEST_DELTA
    from privacy.blocks import charges_of as charges_of
    from privacy.blocks import costs_of as costs_of
    from privacy.budget import Budget as Budget
    from privacy.budget import Limit as Limit
    from privacy.budget import Scope as Scope
    from privacy.budget import SpendDecision as SpendDecision
    from privacy.budget import check_spend as check_spend
    from privacy.calibration import calibrate_noise as calibrate_noise
    from privacy.canaries import CanaryRun as CanaryRun
    from privacy.canaries import Subject as Subject
    from privacy.canaries import train_with_canaries as train_with_canaries
    from privacy.canonical import JsonValue as JsonValue
    from privacy.canonical import canonical_bytes as canonical_bytes
    from privacy.canonical import digest as digest
    from privacy.canonical import parse_json as parse_json
    from privacy.canonical import sha256_hex as sha256_hex
    from privacy.chain import Checkpoint as Checkpoint
    from privacy.chain import SealedEntry as SealedEntry
    from privacy.chain import first_entry as first_entry
    from privacy.chainreader import ChainSummary as ChainSummary
    from privacy.chainreader import verify_chain as verify_chain
    from privacy.countersignatures import Countersignature as Countersignature
    from privacy.countersignatures import countersign as countersign
    from privacy.countersignatures import countersignature_entry as countersignature_entry
    from privacy.countersignatures import countersignature_from_json as countersignature_from_json
    from privacy.countersignatures import countersignature_to_json as countersignature_to_json
    from privacy.countersignatures import verify_countersignature as verify_countersignature
    from privacy.counts import counts_event as counts_event
    from privacy.counts import noised_counts as noised_counts
    from privacy.counts import shown_counts as shown_counts
    from privacy.counts import unit_weights as unit_weights
    from privacy.details import BudgetChange as BudgetChange
    from privacy.details import Disclosure as Disclosure
    from privacy.details import DisclosureKind as DisclosureKind
    from privacy.details import Reservation as Reservation
    from privacy.distinguishing import Guessed as Guessed
    from privacy.distinguishing import least_mu as least_mu
    from privacy.distinguishing import rank_chance as rank_chance
    from privacy.dpsgd import DpSgdResult as DpSgdResult
    from privacy.dpsgd import DpSgdSettings as DpSgdSettings
    from privacy.dpsgd import train_dp as train_dp
    from privacy.entries import Entry as Entry
    from privacy.entries import EntryKind as EntryKind
    from privacy.envelope import Purpose as Purpose
    from privacy.envelope import sign_document as sign_document
    from privacy.envelope import verify_document as verify_document
    from privacy.errors import AccountantError as AccountantError
    from privacy.errors import BudgetAmountError as BudgetAmountError
    from privacy.errors import BudgetError as BudgetError
    from privacy.errors import BudgetExceededError as BudgetExceededError
    from privacy.errors import CalibrationError as CalibrationError
    from privacy.errors import CanonicalError as CanonicalError
    from privacy.errors import EventError as EventError
    from privacy.errors import GradientError as GradientError
    from privacy.errors import KeyFileError as KeyFileError
    from privacy.errors import LedgerBusyError as LedgerBusyError
    from privacy.errors import LedgerError as LedgerError
    from privacy.errors import LedgerTamperedError as LedgerTamperedError
    from privacy.errors import LedgerWriteError as LedgerWriteError
    from privacy.errors import PrivacyError as PrivacyError
    from privacy.errors import SettingsError as SettingsError
    from privacy.errors import SignatureError as SignatureError
    from privacy.evaluation import EVALUATION_SENSITIVITY as EVALUATION_SENSITIVITY
    from privacy.evaluation import TestCounts as TestCounts
    from privacy.evaluation import cell_noise as cell_noise
    from privacy.evaluation import counted as counted
    from privacy.evaluation import evaluation_event as evaluation_event
    from privacy.evaluation import released as released
    from privacy.events import DpEvent as DpEvent
    from privacy.events import compose as compose
    from privacy.events import event_from_json as event_from_json
    from privacy.events import event_to_json as event_to_json
    from privacy.events import gaussian as gaussian
    from privacy.events import laplace as laplace
    from privacy.events import non_private as non_private
    from privacy.events import poisson_gaussian as poisson_gaussian
    from privacy.filter import UNITS_AT_ONCE as UNITS_AT_ONCE
    from privacy.filter import Charges as Charges
    from privacy.filter import FilterTerms as FilterTerms
    from privacy.filter import epsilon_by_units as epsilon_by_units
    from privacy.filter import filter_epsilon as filter_epsilon
    from privacy.filter import filter_terms as filter_terms
    from privacy.filter import plan_charges as plan_charges
    from privacy.fold import AccountFold as AccountFold
    from privacy.fold import account_from as account_from
    from privacy.grad_sample import check_model as check_model
    from privacy.grad_sample import per_sample as per_sample
    from privacy.gradient_check import check_gradients as check_gradients
    from privacy.grid import LEAST_NOISE as LEAST_NOISE
    from privacy.grid import LEAST_SENSITIVITY as LEAST_SENSITIVITY
    from privacy.grid import MOST_NOISE as MOST_NOISE
    from privacy.grid import MOST_SENSITIVITY as MOST_SENSITIVITY
    from privacy.guarantee import ADD_OR_REMOVE_ONE as ADD_OR_REMOVE_ONE
    from privacy.guarantee import RELATION as RELATION
    from privacy.guarantee import Guarantee as Guarantee
    from privacy.guarantee import Unit as Unit
    from privacy.guarantee import per_unit as per_unit
    from privacy.guarantee import weakest as weakest
    from privacy.keyfile import create_key as create_key
    from privacy.keyfile import load_key as load_key
    from privacy.ledger import Ledger as Ledger
    from privacy.ledgerreading import entries_of_kind as entries_of_kind
    from privacy.ledgerreading import read_file as read_file
    from privacy.lowbits import Lesson as Lesson
    from privacy.lowbits import lattice_steps as lattice_steps
    from privacy.lowbits import learn as learn
    from privacy.mechanisms import Mechanism as Mechanism
    from privacy.mechanisms import Sampler as Sampler
    from privacy.mechanisms import describe as describe
    from privacy.noise import Noise as Noise
    from privacy.noise import UnsafeNoNoise as UnsafeNoNoise
    from privacy.noise import UnsafeSeededNoise as UnsafeSeededNoise
    from privacy.noise import os_noise as os_noise
    from privacy.onerun import Guesses as Guesses
    from privacy.onerun import LowerBound as LowerBound
    from privacy.onerun import audit_scores as audit_scores
    from privacy.randomness import KeyStream as KeyStream
    from privacy.randomness import UnsafeSeededStream as UnsafeSeededStream
    from privacy.randomness import os_generator as os_generator
    from privacy.randomness import os_rng as os_rng
    from privacy.receipts import Receipt as Receipt
    from privacy.receipts import SignedReceipt as SignedReceipt
    from privacy.receipts import sign_receipt as sign_receipt
    from privacy.receipts import signed_receipt_from_json as signed_receipt_from_json
    from privacy.receipts import signed_receipt_to_json as signed_receipt_to_json
    from privacy.receipts import verify_receipt as verify_receipt
    from privacy.sgd import Sgd as Sgd
    from privacy.signing import SigningKey as SigningKey
    from privacy.signing import fingerprint as fingerprint
    from privacy.spend import check_fits as check_fits
    from privacy.spend import check_reservation as check_reservation
    from privacy.spend import commit as commit
    from privacy.spend import destroy as destroy
    from privacy.spend import disclose as disclose
    from privacy.spend import reserve as reserve
    from privacy.spend import set_budget as set_budget
    from privacy.story import PlacedSpend as PlacedSpend
    from privacy.story import Replay as Replay
    from privacy.story import replay as replay
    from privacy.verification import verify_file as verify_file
    from privacy.witness import is_lost as is_lost
    from privacy.witness import loss_entry as loss_entry
    from privacy.witness import own_receipt as own_receipt

_NAMES = {
    "accounting": (
        "ACCOUNTANT",
        "Opinions",
        "agreed_opinions",
        "epsilon",
        "evaluated_delta",
        "guarantee",
        "interval_for",
        "naive_sum",
        "second_opinions",
    ),
    "accounts": ("Account", "Disclosed", "Spend", "SpendState"),
    "amounts": ("LARGEST_DELTA",),
    "blocks": ("charges_of", "costs_of"),
    "budget": ("Budget", "Limit", "Scope", "SpendDecision", "check_spend"),
    "calibration": ("calibrate_noise",),
    "canaries": ("CanaryRun", "Subject", "train_with_canaries"),
    "canonical": ("JsonValue", "canonical_bytes", "digest", "parse_json", "sha256_hex"),
    "chain": ("Checkpoint", "SealedEntry", "first_entry"),
    "chainreader": ("ChainSummary", "verify_chain"),
    "countersignatures": (
        "Countersignature",
        "countersign",
        "countersignature_entry",
        "countersignature_from_json",
        "countersignature_to_json",
        "verify_countersignature",
    ),
    "counts": ("counts_event", "noised_counts", "shown_counts", "unit_weights"),
    "details": ("BudgetChange", "Disclosure", "DisclosureKind", "Reservation"),
    "distinguishing": ("Guessed", "least_mu", "rank_chance"),
    "dpsgd": ("DpSgdResult", "DpSgdSettings", "train_dp"),
    "entries": ("Entry", "EntryKind"),
    "envelope": ("Purpose", "sign_document", "verify_document"),
    "errors": (
        "AccountantError",
        "BudgetAmountError",
        "BudgetError",
        "BudgetExceededError",
        "CalibrationError",
        "CanonicalError",
        "EventError",
        "GradientError",
        "KeyFileError",
        "LedgerBusyError",
        "LedgerError",
        "LedgerTamperedError",
        "LedgerWriteError",
        "PrivacyError",
        "SettingsError",
        "SignatureError",
    ),
    "evaluation": (
        "EVALUATION_SENSITIVITY",
        "TestCounts",
        "cell_noise",
        "counted",
        "evaluation_event",
        "released",
    ),
    "events": (
        "DpEvent",
        "compose",
        "event_from_json",
        "event_to_json",
        "gaussian",
        "laplace",
        "non_private",
        "poisson_gaussian",
    ),
    "filter": (
        "UNITS_AT_ONCE",
        "Charges",
        "FilterTerms",
        "epsilon_by_units",
        "filter_epsilon",
        "filter_terms",
        "plan_charges",
    ),
    "fold": ("AccountFold", "account_from"),
    "grad_sample": ("check_model", "per_sample"),
    "gradient_check": ("check_gradients",),
    "grid": ("LEAST_NOISE", "LEAST_SENSITIVITY", "MOST_NOISE", "MOST_SENSITIVITY"),
    "guarantee": ("ADD_OR_REMOVE_ONE", "RELATION", "Guarantee", "Unit", "per_unit", "weakest"),
    "keyfile": ("create_key", "load_key"),
    "ledger": ("Ledger",),
    "ledgerreading": ("entries_of_kind", "read_file"),
    "lowbits": ("Lesson", "lattice_steps", "learn"),
    "mechanisms": ("Mechanism", "Sampler", "describe"),
    "onerun": ("Guesses", "LowerBound", "audit_scores"),
    "noise": ("Noise", "UnsafeNoNoise", "UnsafeSeededNoise", "os_noise"),
    "randomness": ("KeyStream", "UnsafeSeededStream", "os_generator", "os_rng"),
    "receipts": (
        "Receipt",
        "SignedReceipt",
        "sign_receipt",
        "signed_receipt_from_json",
        "signed_receipt_to_json",
        "verify_receipt",
    ),
    "sgd": ("Sgd",),
    "signing": ("SigningKey", "fingerprint"),
    "spend": (
        "check_fits",
        "check_reservation",
        "commit",
        "destroy",
        "disclose",
        "reserve",
        "set_budget",
    ),
    "story": ("PlacedSpend", "Replay", "replay"),
    "verification": ("verify_file",),
    "witness": ("is_lost", "loss_entry", "own_receipt"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - one table, so that it cannot disagree with itself


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'privacy' has no attribute {name!r}")
    value = getattr(import_module(f"privacy.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
