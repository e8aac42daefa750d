"""Release rules: "cohort reports of this plan may go when they verify and nothing is marked". Pure.

A rule is about one plan and about cohort reports only (`hospital`, `global`); that a text is
verified, noised and free of marks is always asked and cannot be left out. It is signed by the
site, needs as many reviewers as an approval, expires, can be revoked, and each use of it is in
the ledger. What it lets go is said by `datasites.desk.release_policy`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from datasites.desk.items import ItemKind
from datasites.errors import RuleError
from datasites.people import is_same_person
from privacy import JsonValue, Purpose, SigningKey, sign_document, verify_document

RULE_KINDS = frozenset({ItemKind.HOSPITAL_REPORT, ItemKind.GLOBAL_REPORT})
FORMAT = "dura.release_rule/2"


@dataclass(frozen=True)
class ReleaseRule:
    """One rule.

    Attributes:
        id: `rule-` and eight hex digits.
        plan_sha256: the plan whose reports it is about.
        kinds: kinds of reports, in alphabetical order.
        reviewers: who agreed.
        reason: the first one's words; they stay at the hospital.
        decided: UTC time of the last vote.
        expires: UTC time after which it covers nothing.
        revoked: whether it was withdrawn.
        revoked_by: by whom.
    """

    id: str
    plan_sha256: str
    kinds: tuple[ItemKind, ...]
    reviewers: tuple[str, ...]
    reason: str
    decided: str
    expires: str
    revoked: bool = False
    revoked_by: str = ""

    def __post_init__(self) -> None:
        if not self.kinds or not RULE_KINDS.issuperset(self.kinds):
            raise RuleError(
                f"a rule is about {' and '.join(sorted(RULE_KINDS))} reports, not "
                f"{', '.join(self.kinds) or 'nothing'}: case reports and weights wait for a person"
            )


def agree(rule: ReleaseRule, *, reviewer: str, decided: str) -> ReleaseRule:
    """The same rule with one more reviewer.

    Raises:
        RuleError: they agreed already.
    """
    if any(is_same_person(reviewer, known) for known in rule.reviewers):
        raise RuleError(f"{reviewer} agreed to {rule.id} already")
    return replace(rule, reviewers=(*rule.reviewers, reviewer), decided=decided)


def sign_rule(rule: ReleaseRule, key: SigningKey) -> dict[str, Any]:
    """The rule as it is kept: its fields and the site's signature over them."""
    signature = sign_document(_body(rule), purpose=Purpose.RELEASE_RULE, key=key)
    return {"rule": asdict(rule), "signature": signature}


def open_rule(record: Any, *, public_hex: str) -> ReleaseRule:
    """The rule in a kept record.

    Raises:
        SignatureError: the site did not sign exactly this.
        RuleError: it is no rule.
    """
    try:
        fields = dict(record["rule"])
        fields["kinds"] = tuple(ItemKind(kind) for kind in fields["kinds"])
        fields["reviewers"] = tuple(fields["reviewers"])
        rule = ReleaseRule(**fields)
        signature = str(record["signature"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RuleError(f"this is no release rule: {error}") from error
    verify_document(
        _body(rule),
        purpose=Purpose.RELEASE_RULE,
        public_hex=public_hex,
        signature_hex=signature,
    )
    return rule


def listed_kinds(names: Iterable[str]) -> tuple[ItemKind, ...]:
    """Kinds by name, in alphabetical order.

    Raises:
        RuleError: one is no kind of output.
    """
    try:
        return tuple(sorted({ItemKind(name) for name in names}))
    except ValueError as error:
        known = ", ".join(sorted(RULE_KINDS))
        raise RuleError(f"{error}; a rule is about {known}") from error


def _body(rule: ReleaseRule) -> dict[str, JsonValue]:
    return {"format": FORMAT, **asdict(rule)}
