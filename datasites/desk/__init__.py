"""The release desk: what jobs produced, held until the data owner decides."""

from datasites.desk.assessment import Assessment, assess
from datasites.desk.content import BLOCK, HeldReport, Span, occurrences
from datasites.desk.identifiers import NOT_SCANNED, SCANNED, Mark, MarkKind, scan
from datasites.desk.items import (
    NEEDS_A_PERSON,
    WITH_ANSWER,
    Item,
    ItemKind,
    ItemState,
    decide,
)
from datasites.desk.links import Link, Linked, link
from datasites.desk.lock import desk_lock
from datasites.desk.release_rule import RULE_KINDS, ReleaseRule, listed_kinds
from datasites.desk.rulestore import RuleBook
from datasites.desk.store import Desk

__all__ = [
    "BLOCK",
    "NEEDS_A_PERSON",
    "NOT_SCANNED",
    "RULE_KINDS",
    "SCANNED",
    "WITH_ANSWER",
    "Assessment",
    "Desk",
    "HeldReport",
    "Item",
    "ItemKind",
    "ItemState",
    "Link",
    "Linked",
    "Mark",
    "MarkKind",
    "ReleaseRule",
    "RuleBook",
    "Span",
    "assess",
    "decide",
    "desk_lock",
    "link",
    "listed_kinds",
    "occurrences",
    "scan",
]
