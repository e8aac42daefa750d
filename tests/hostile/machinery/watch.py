"""The invariants at a hospital: the specification that every machine checks after each move.

ledger      it verifies with the hospital's key, folds, and what was in it is in it still
approval    no spend is reserved, so no task runs, without a valid, unrevoked approval by the quorum
            of exactly this plan, at that moment, for this researcher with this key, within its
            terms (`book.Book.refusal`)
bytes       what a sandbox is handed is the approved plan, byte for byte, and the files that the
            task names
once        an id is handed to a sandbox at most once, and reserved before
spends      a spend is committed as it was reserved, none is given back, epsilon never goes down
budget      nothing is reserved beyond the owner's budget or a cap
canaries    nothing planted (image bytes, pseudonyms, keys, drafts, what jobs print, the
            environment, the owner's words, paths) is on the relay as written, or in what a
            researcher reads
released    an update is read by nobody but who asked for it, and not before it was released
coded       answers, decisions, notices and states hold codes of the set, and nothing else leaves
outside     the agent writes nowhere but in its site and the relay, links resolved
step        a step of the agent raises nothing (but `RelayError`, while the relay is away)
served      an honest peer is answered within `SERVED_WITHIN` steps of the agent
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml

from datasites.answers import Answer, PlanDecision, WithheldNotice
from datasites.errors import Reason, RelayError
from privacy import (
    Account,
    EntryKind,
    Limit,
    Scope,
    account_from,
    filter_epsilon,
    read_file,
    sha256_hex,
    verify_file,
)
from tests.hostile.machinery.book import Book
from tests.hostile.machinery.driving import Violation
from tests.hostile.machinery.ground import CANARIES, Clock, Network, secrets_of
from tests.hostile.machinery.outside import Boundary
from tests.hostile.machinery.standin import marker

SERVED_WITHIN = 12
CODES = {reason.value for reason in Reason}
_FORMS = {
    "answer.json": Answer, "decision.json": PlanDecision, "revoked.json": PlanDecision,
}  # fmt: skip
_NAMES = {*_FORMS, "state.yaml", "card.json", "key.json", "weights.safetensors", "evaluation.json"}


@dataclass
class Watch:
    """Looks at one network after each move; see the module's docstring."""

    net: Network
    book: Book
    entries: int = 0
    lines: bytes = b""
    epsilon: float = 0.0
    account: Account | None = None
    handed: int = 0
    relay: set[tuple[str, int, int]] = field(default_factory=set)
    senders: dict[str, str] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)
    relay_away: bool = False
    read: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.never = {**CANARIES, **secrets_of(self.net.site)}
        self._ledger()
        self.skip_relay()

    def check(self) -> None:
        """All of them; `outside` and `step` are checked by `stepping`."""
        self._ledger()
        self._jobs()
        self._relay()

    def begin_anew(self) -> None:
        """The owner settled a loss: the ledger that lies there now is the one that counts."""
        self.lines, self.entries = b"", 0
        data = self.net.site.ledger_path.read_bytes()
        key = self.net.site.key.public_hex
        sealed = list(read_file(self.net.site.ledger_path, public_hex=key))
        self.lines, self.entries = data, len(sealed)
        self.account = account_from(one.entry for one in sealed)
        self.epsilon = self.account.epsilon()
        self.book.limits[""] = self.account.required_budget().epsilon

    @contextlib.contextmanager
    def stepping(self, *, kill_at: int = 0) -> Iterator[None]:
        """Around a step of the agent."""
        boundary = Boundary.here()
        with boundary.watching(self.net.site_root, self.net.relay, kill_at=kill_at):
            try:
                yield
            except RelayError as error:
                if not self.relay_away:
                    raise Violation("step", f"the relay is there: {error}") from error
            except Exception as error:
                raise Violation("step", f"{type(error).__name__}: {error}") from error
        if boundary.found:
            raise Violation("outside", f"written: {boundary.found[:5]}")

    # --- the ledger -------------------------------------------------------------------------

    def _ledger(self) -> None:
        data = self.net.site.ledger_path.read_bytes()
        if data == self.lines:
            return
        key = self.net.site.key.public_hex
        try:
            verify_file(self.net.site.ledger_path, public_hex=key)
            sealed = list(read_file(self.net.site.ledger_path, public_hex=key))
            account = account_from(one.entry for one in sealed)
        except Exception as error:
            raise Violation("ledger", f"{type(error).__name__}: {error}") from error
        if not data.startswith(self.lines):
            raise Violation("ledger", "what was in it is not in it any more")
        fresh = [one.entry for one in sealed[self.entries :]]
        self.lines, self.entries, self.account = data, len(sealed), account
        for entry in fresh:
            self._entry(entry)
        if any(one.kind is EntryKind.SPEND_RESERVED for one in fresh):
            self._budget(account)
        kinds = (EntryKind.SPEND_COMMITTED, EntryKind.SPEND_RESERVED, EntryKind.SPEND_DESTROYED)
        if any(one.kind in kinds for one in fresh):
            self._never_less(account)
        if fresh:
            times = [datetime.fromisoformat(one.time) for one in fresh]
            self.book.latest = max(self.book.latest, Clock.now(UTC), *times)

    def _entry(self, entry) -> None:
        detail = dict(entry.detail)
        name = detail.get("reservation", "")
        if str(name).startswith("card"):
            return
        if entry.kind is EntryKind.SPEND_RESERVED:
            why = self.book.refusal(entry)
            if why:
                raise Violation("approval", f"{name}: {why}")
            self.senders[name], self.plans[name] = detail["researcher"], detail["code_sha256"]
            self._events[name] = detail["event"]
        elif entry.kind is EntryKind.SPEND_COMMITTED:
            if detail["event"] != self._events.get(name):
                raise Violation("spends", f"{name} was committed as another event")
            yes = self.book.yes[self.plans[name]]
            if yes.standing and not yes.closed:
                self.book.may_leave.add(name)
        elif entry.kind is EntryKind.SPEND_DESTROYED:
            raise Violation("spends", f"{name} was given back")

    @property
    def _events(self) -> dict:
        return self.__dict__.setdefault("events", {})

    def _budget(self, account: Account) -> None:
        budget = account.required_budget()
        if budget.epsilon != self.book.limits[""]:
            raise Violation("budget", f"it is {budget}, and was set to {self.book.limits['']:g}")
        limits = [Limit(scope=Scope.HOSPITAL, name="", budget=budget)]
        limits += [Limit(scope=s, name=n, budget=b) for (s, n), b in account.caps.items()]
        for limit in limits:
            charged = account.charged(limit, time=account.last_time)
            found = filter_epsilon(charged, delta=limit.budget.delta)
            ours = limit.scope is Scope.HOSPITAL or self._reserved_last(account, limit)
            if ours and found > limit.budget.epsilon * (1 + 1e-9):
                raise Violation("budget", f"epsilon {found:g} of {limit}: {limit.budget}")

    def _reserved_last(self, account: Account, limit: Limit) -> bool:
        name = list(self.senders)[-1] if self.senders else ""
        plan = self.book.bundles[self.plans[name]].plan if name else None
        named = {Scope.RESEARCHER: self.senders.get(name), Scope.STUDY: plan and plan.study}
        return named.get(limit.scope) == limit.name

    def _never_less(self, account: Account) -> None:
        now = account.epsilon()
        if now < self.epsilon * (1 - 1e-9):
            raise Violation("spends", f"epsilon fell from {self.epsilon:g} to {now:g}")
        self.epsilon = now

    # --- what ran ---------------------------------------------------------------------------

    def _jobs(self) -> None:
        given = self.net.jobs.given
        for job in given[self.handed :]:
            if sum(one.request == job.request for one in given) > 1:
                raise Violation("once", f"{job.request} was handed to a second sandbox")
            if job.request not in self.plans:
                raise Violation("once", f"{job.request} runs, and nothing was reserved for it")
            bundle = self.book.bundles[self.plans[job.request]]
            for name, data in bundle.files.items():
                if job.inputs.get(name) != data:
                    raise Violation("bytes", f"{name} of {job.request} is not what was approved")
            task = json.loads(job.inputs["job.json"])["task"]
            if sha256_hex(job.inputs["weights.safetensors"]) != task["weights_sha256"]:
                raise Violation("bytes", f"{job.request} trains on other weights than it names")
        self.handed = len(given)

    # --- what left --------------------------------------------------------------------------

    def skip_relay(self) -> None:
        """Take what lies on the relay now as looked at."""
        self.relay = set(self._files())

    def _files(self) -> Iterator[tuple[str, int, int]]:
        for path in self.net.relay.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink() and "/inbox/" not in str(path):
                    about = path.stat()
                    yield str(path), about.st_mtime_ns, about.st_size

    def _relay(self) -> None:
        found = set(self._files())
        for name, _, _ in sorted(found - self.relay):
            path = Path(name)
            data = path.read_bytes()
            self._clean(data, f"{path.name} on the relay", but="folder")
            if "/outbox/" in name and path.name.startswith("syftevents"):
                self._message(data, path.parent.name)
        self.relay = found

    def _clean(self, data: bytes, where: str, *, but: str = "") -> None:
        for name, value in self.never.items():
            if value in data and name != but:
                raise Violation("canaries", f"{name} in {where}")

    def _message(self, envelope: bytes, recipient: str) -> None:
        plain = self.net.opened(envelope, recipient=recipient)
        self._clean(plain, f"a message to {recipient}")
        for event in json.loads(plain)["events"]:
            name, data = Path(event["path_in_datasite"]).name, _content(event)
            self._clean(data, f"{name} to {recipient}")
            self._named(name, data)
            for request in {job.request for job in self.net.jobs.given}:
                mine = self.senders.get(request) == recipient and request in self.book.may_leave
                if not mine and marker(request).tobytes() in data:
                    raise Violation("released", f"the update of {request} left to {recipient}")
            job = Path(event["path_in_datasite"]).parts
            self.read.setdefault(recipient, []).append(("/".join(job[-3:]), data))

    def _named(self, name: str, data: bytes) -> None:
        """One file of a message: of a known kind, and only codes in it."""
        form = _FORMS.get(name) or (WithheldNotice if name.endswith(".withheld.json") else None)
        if name not in _NAMES and form is None and not name.endswith(".report.json"):
            raise Violation("coded", f"a file called {name!r} left")
        if form is not None:
            try:
                form.model_validate_json(data)
            except ValueError as error:
                raise Violation("coded", f"{name}: {error}") from error
            reason = json.loads(data).get("reason")
        elif name == "state.yaml":
            reason = (yaml.safe_load(data) or {}).get("review_reason")
        else:
            return
        if reason is not None and reason not in CODES:
            raise Violation("coded", f"{name} says {reason!r}")


def _content(event: dict) -> bytes:
    content = event["content"] or ""
    if event.get("content_type") == "binary":
        return base64.b64decode(content)
    return content.encode()
