"""What people and researchers did, in the test's own book: what may run, spend and leave by it.

The book knows nothing of the product's files. A play writes into it what it did (a vote that was
taken, a task that was sent), and the watch (`watch`) asks it about every reservation that the
ledger shows: was this allowed at this very moment?
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from datasites.plans import Bundle, Task, TrainTask, task_event
from privacy import DpEvent, Entry, event_from_json
from tests.hostile.machinery.ground import (
    ANN,
    BOB,
    BOBS,
    BUDGET,
    PLANS,
    QUORUM,
    REVIEWERS,
    Clock,
)


@dataclass
class Yes:
    """What was agreed on one plan."""

    people: set[str] = field(default_factory=set)
    closed: bool = False
    expires: datetime | None = None
    max_rounds: int = 0
    standing: bool = False
    key: str = ""
    sure: bool = True


@dataclass
class Book:
    """See the module's docstring.

    Attributes:
        yes: plan to what was agreed on it.
        keys: researcher to the key they are paired with; empty while they are not.
        asked: (sender, id) to every task that they sent under it, as bytes that parse.
        latest: the latest time at which something was written down.
        may_leave: requests whose outputs may have left.
        limits: the owner's budget (under the empty name) and caps, as they were last set.
    """

    bundles: dict[str, Bundle] = field(
        default_factory=lambda: {one.sha256: one for one in (*PLANS, BOBS)}
    )
    yes: dict[str, Yes] = field(default_factory=lambda: defaultdict(Yes))
    keys: dict[str, str] = field(default_factory=dict)
    asked: dict[tuple[str, str], list[Task]] = field(default_factory=lambda: defaultdict(list))
    latest: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    may_leave: set[str] = field(default_factory=set)
    limits: dict[str, float] = field(default_factory=lambda: {"": BUDGET})
    runs: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def begin(self, keys: dict[str, str]) -> None:
        """Who is paired, and Bob's plan as it was approved."""
        self.keys = dict(keys)
        for person in REVIEWERS[:QUORUM]:
            self.vote(BOBS.sha256, person, days=30, max_rounds=1000, standing=True, sender=BOB)

    def vote(
        self, sha: str, person: str, *, days: int, max_rounds: int, standing: bool,
        sender: str = ANN, sure: bool = True,
    ) -> None:  # fmt: skip
        """A reviewer's yes was taken; not `sure`: it may have been, for its command died."""
        yes = self.yes[sha]
        expires = max(Clock.now(UTC), self.latest) + timedelta(days=days)
        yes.sure &= sure
        if not yes.people:
            yes.expires = expires
            yes.max_rounds, yes.standing, yes.key = max_rounds, standing, self.keys[sender]
        elif not yes.sure:  # whose terms hold is not known: the wider ones
            yes.expires = max(yes.expires or expires, expires)
            yes.max_rounds, yes.standing = max(yes.max_rounds, max_rounds), yes.standing or standing
        yes.people.add(person)

    def close(self, sha: str) -> None:
        """It was rejected or revoked."""
        self.yes[sha].closed = True

    def unpair(self, email: str) -> None:
        """A researcher was turned away, and with them what was agreed on their plans."""
        self.keys[email] = ""
        for sha, bundle in self.bundles.items():
            if bundle.plan.researcher == email and self.yes[sha].people:
                self.close(sha)

    def send(self, sender: str, task: Task) -> None:
        """A task left for the hospital."""
        self.asked[sender, task.request].append(task)

    def refusal(self, entry: Entry) -> str:
        """Why this reservation must not be; empty where it may."""
        told = dict(entry.detail)
        sha, sender, name = told["code_sha256"], told["researcher"], told["request"]
        yes, bundle = self.yes.get(sha), self.bundles.get(sha)
        if yes is None or bundle is None or len(yes.people) < QUORUM:
            return f"the plan {sha[:12]} was not approved by {QUORUM} people"
        if yes.closed:
            return f"the plan {sha[:12]} was rejected or revoked"
        now = max(self.latest, Clock.now(UTC)) - timedelta(minutes=1)
        if yes.expires is not None and now >= yes.expires:
            return f"the approval of {sha[:12]} had expired at {yes.expires}"
        if bundle.plan.researcher != sender or not yes.key or self.keys.get(sender) != yes.key:
            return f"{sender} may not use the plan {sha[:12]} with this key"
        tasks = [one for one in self.asked[sender, told["reservation"]] if one.plan_sha256 == sha]
        fitting = [one for one in tasks if self._event(bundle, one) == _told(told)]
        if not fitting:
            return f"nothing that {sender} asked as {told['reservation']} costs this"
        return self._outside(bundle, yes, fitting, name)

    def _outside(self, bundle: Bundle, yes: Yes, tasks: list[Task], name: str) -> str:
        before = self.runs[bundle.sha256]
        self.runs[bundle.sha256] = [*before, name]
        train = bundle.plan.train
        for task in tasks:
            if not isinstance(task, TrainTask):
                if before.count(name) == 0 or yes.max_rounds > bundle.plan.rounds:
                    return ""
                continue
            rounds = [int(one[6:]) for one in before if one.startswith("train/")]
            fits = (
                name == f"train/{task.round}"
                and max([1, *rounds]) <= task.round <= bundle.plan.rounds
                and len(rounds) < yes.max_rounds
                and task.steps <= train.steps
                and 0 <= task.learning_rate <= 1
                and task.proximal_mu == 0
                and task.correction_sha256 is None
            )
            if fits:
                return ""
        return f"{name} is outside what was approved"

    @staticmethod
    def _event(bundle: Bundle, task: Task) -> DpEvent | None:
        try:
            return task_event(bundle.plan, task)
        except Exception:  # a task that the plan has not
            return None


def _told(detail: dict) -> DpEvent:
    return event_from_json(detail["event"])
