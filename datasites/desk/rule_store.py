"""Release rules on disk, signed, and their use by the agent.

`release_rules/ID.json` holds a rule with the site's signature; one that was altered covers
nothing and is named. Every change is in the ledger before it is on disk; every use is the entry
that releases the output, which names the rule.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from datasites.desk.desk import Desk
from datasites.desk.identifier_list import WORDS_FILE
from datasites.desk.items import ItemKind
from datasites.desk.release_policy import must_be_reviewer
from datasites.desk.release_rule import ReleaseRule, agree, open_rule, sign_rule
from datasites.errors import DatasitesError, ReleaseRefusedError, RuleError
from datasites.people import count_people
from datasites.plans import APPROVED, read_record
from datasites.site import PlanStore, Site, desk_lock, stamp, write_json
from privacy import EntryKind, PrivacyError

RULES_FOLDER = "release_rules"
log = logging.getLogger("dura.desk")


class RuleBook:
    """The release rules of one site."""

    def __init__(self, site: Site, desk: Desk) -> None:
        self._site = site
        self._desk = desk
        self._folder = site.root / RULES_FOLDER
        self._refused: set[tuple[str, ...]] = set()
        self._named: set[str] = set()

    def all(self) -> list[ReleaseRule]:
        """Every rule that the site signed, oldest first; altered files are left out and logged."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(open_rule(read_record(path), public_hex=self._site.key.public_hex))
            except (DatasitesError, PrivacyError) as error:
                if str(path) not in self._named:  # it looks several times a second
                    log.error("%s covers nothing: %s", path, error)
                self._named.add(str(path))
        return sorted(found, key=lambda rule: (rule.decided, rule.id))

    def set(
        self, plan: str, *, kinds: Sequence[ItemKind], reviewer: str, reason: str, days: int | None
    ) -> ReleaseRule:
        """A reviewer sets a rule, or agrees to the one that waits for more reviewers.

        Raises:
            RuleError: nobody, no reason, no approved plan, agreed already, or no such kind.
            PlanError: there is no such plan.
        """
        reviewer = must_be_reviewer(reviewer, self._site.settings.reviewers)
        if not reason.strip():
            raise RuleError("say why: --reason TEXT (it stays at this hospital)")
        with desk_lock(self._site.root):
            store = PlanStore(self._site)
            sha = store.get(plan).bundle.sha256
            approval = store.approval(sha)
            if approval is None or approval.decision != APPROVED or approval.revoked:
                raise RuleError(f"plan {sha[:12]} is not approved, so a rule would cover nothing")
            now = self._site.now()
            waiting = self._waiting(sha, tuple(kinds), now)
            if waiting is not None:
                rule = agree(waiting, reviewer=reviewer, decided=stamp(now))
            else:
                asked = now + timedelta(days=days or self._site.settings.approval_days)
                rule = ReleaseRule(
                    id=f"rule-{secrets.token_hex(4)}",
                    plan_sha256=sha,
                    kinds=tuple(kinds),
                    reviewers=(reviewer,),
                    reason=reason,
                    decided=stamp(now),
                    expires=stamp(min(asked, datetime.fromisoformat(approval.expires))),
                )
            self._keep(EntryKind.RELEASE_RULE_SET, rule, actor=reviewer, reason=reason)
            return rule

    def revoke(self, rule_id: str, *, reviewer: str, reason: str) -> ReleaseRule:
        """Withdraw a rule: it covers nothing any more; what it let go is gone.

        Raises:
            RuleError: nobody, no such rule, or withdrawn before.
        """
        reviewer = must_be_reviewer(reviewer, self._site.settings.reviewers)
        with desk_lock(self._site.root):
            rule = next((rule for rule in self.all() if rule.id == rule_id), None)
            if rule is None or rule.revoked:
                raise RuleError(
                    f"there is no rule {rule_id!r} in force; `dura site releases rules`"
                )
            rule = replace(rule, revoked=True, revoked_by=reviewer)
            self._keep(EntryKind.RELEASE_RULE_REVOKED, rule, actor=reviewer, reason=reason)
            return rule

    def apply(self) -> list[str]:
        """Release what rules cover; returns the ids of what was released."""
        rules = {rule.id: rule for rule in self.all() if not rule.revoked}
        if not rules:
            return []
        released = []
        for item in self._desk.items():
            if not item.is_open or not item.is_report:
                continue
            for rule in rules.values():
                tried = (item.id, item.content_sha256, rule.id, rule.decided, self._words_mark())
                if rule.plan_sha256 == item.plan_sha256 and tried not in self._refused:
                    if self._use(rule.id, item.id):
                        released.append(item.id)
                        break
                    self._refused.add(tried)
        return released

    def _use(self, rule_id: str, item_id: str) -> bool:
        with desk_lock(self._site.root):
            # Read again, alone: it may have been withdrawn a moment ago.
            rule = next((rule for rule in self.all() if rule.id == rule_id), None)
            if rule is None or not self._in_ledger(rule):
                return False
            try:
                self._desk.release_by_rule(item_id, rule)
            except ReleaseRefusedError as error:
                log.info("%s", error)
                return False
            except DatasitesError as error:  # also of the list of words, which nobody can read
                log.warning("%s", error)
                return False
        log.info("released %s by %s", item_id, rule_id)
        return True

    def _in_ledger(self, rule: ReleaseRule) -> bool:
        """Whether the ledger's last word about a rule is that these reviewers set it."""
        entries = [sealed.entry for sealed in self._site.ledger.entries()]
        about = [entry for entry in entries if entry.resource == rule.id]
        return bool(about) and (
            about[-1].kind is EntryKind.RELEASE_RULE_SET
            and about[-1].detail.get("reviewers") == list(rule.reviewers)
        )

    def _waiting(
        self, plan_sha256: str, kinds: tuple[ItemKind, ...], now: datetime
    ) -> ReleaseRule | None:
        """A rule like this one that still needs reviewers."""
        for rule in self.all():
            if (
                (rule.plan_sha256, rule.kinds) == (plan_sha256, kinds)
                and not rule.revoked
                and count_people(rule.reviewers) < self._site.settings.quorum
                and now < datetime.fromisoformat(rule.expires)
            ):
                return rule
        return None

    def _words_mark(self) -> str:
        path = self._site.root / WORDS_FILE
        return str(path.stat().st_mtime_ns) if path.exists() else ""

    def _keep(self, kind: EntryKind, rule: ReleaseRule, *, actor: str, reason: str) -> None:
        self._site.log(
            kind,
            actor=actor,
            action=kind.value.replace("_", " "),
            resource=rule.id,
            reason=reason,
            detail={
                "plan_sha256": rule.plan_sha256,
                "kinds": list(rule.kinds),
                "reviewers": list(rule.reviewers),
                "expires": rule.expires,
            },
        )
        write_json(self._folder / f"{rule.id}.json", sign_rule(rule, self._site.key))
