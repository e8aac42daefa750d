"""Hostile and careless colleagues on one site: several reviewers and the owner, all at once.

They act by the functions of the command line: approve, reject, revoke (under any spelling of a
name, and as nobody), expire, change budgets, release and withhold, set rules, settle losses. They
put old copies of approvals and of the ledger back, alter files, set the clock, restart the agent,
decide while it is between its look and its reservation, and kill it, or a command, between any two
writes. Ann asks honestly under plans that may be approved or not; Bob is honest and waits.

What must hold after each move is said in `machinery.watch`. A command that was killed may have
decided or not; the book takes what allows more (`Book.vote`, `sure=False`).
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import strategies as st

from datasites.agent.request_store import RequestStore
from datasites.cli import budget as budgets
from datasites.cli import decisions, releases
from datasites.desk import Desk, RuleBook
from datasites.errors import DatasitesError
from datasites.owner.plan_review import revoke
from privacy import PrivacyError
from tests.hostile.machinery.atsite import SiteMachine
from tests.hostile.machinery.driving import PICK, Violation, move, picked
from tests.hostile.machinery.ground import ANN, OWN_WORDS, PLANS, REVIEWERS, A, Clock
from tests.hostile.machinery.outside import Boundary, Killed

WHICH = st.integers(0, len(PLANS) - 1)
SPELT = {
    "Dr Reed": "Dr Reed", "dr reed": "Dr Reed", " DR  REED ": "Dr Reed", "Dr Shaw": "Dr Shaw",
    "Dr shaw": "Dr Shaw", "Dr Tate": "Dr Tate", "Dr Ｔate": "Dr Tate", "": "", "Dr Nobody": "",
    "Dr Reed\u200b": "", ANN: "",
}  # fmt: skip
WHO = st.sampled_from(sorted(SPELT))
DYING = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 25])
"""Before which write something dies; 0 for not at all."""
DESK = st.sampled_from(["releases", "releases", "withholds"])
AMOUNTS = (0.5, 3.0, 12.0, 60.0, 60.0, 200.0, 0.0, -1.0, float("nan"), float("inf"))


class HostileColleague(SiteMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.copies: list[tuple[str, bytes]] = []
        self.ledgers: list[bytes] = []

    # --- deaths -----------------------------------------------------------------------------

    def command(self, do, *words, kill_at: int = 0, **options) -> str:
        """As for all; a command that was killed says so."""
        try:
            with Boundary.here().watching(self.net.site_root, self.net.relay, kill_at=kill_at):
                return super().command(do, *words, **options)
        except Killed:
            return "killed"
        except PrivacyError as error:
            return str(error)

    @move(kill_at=DYING, slot_over=st.booleans())
    def the_agent_is_killed_in_a_step(self, kill_at: int, slot_over: bool) -> None:
        try:
            self.step(slot_over=slot_over, kill_at=kill_at)
        except Killed:
            self.net.stop(killed=True)
            self.step()

    @move(how=st.sampled_from(["in order", "killed"]))
    def the_agent_starts_anew(self, how: str) -> None:
        self.net.stop(killed=how == "killed")
        self.step()

    # --- decisions --------------------------------------------------------------------------

    @move(which=WHICH)
    def ann_submits_a_plan(self, which: int) -> None:
        with contextlib.suppress(DatasitesError):
            files = PLANS[which].files
            self.net.links[ANN].submit(site=A, job=f"plan-{which}", files=files)
        self.step()

    @move(
        which=WHICH, who=WHO, days=st.sampled_from([1, 30]), rounds=st.sampled_from([1, 2, 9]),
        standing=st.booleans(), kill_at=DYING,
    )  # fmt: skip
    def a_colleague_approves(
        self, which: int, who: str, days: int, rounds: int, standing: bool, kill_at: int
    ) -> None:
        sha = PLANS[which].sha256
        said = self.command(
            decisions.approve, sha, who=who, reason=OWN_WORDS, max_rounds=rounds, days=days,
            standing_release=standing, accept_synthetic=False, kill_at=kill_at,
        )  # fmt: skip
        if said not in ("", "killed"):
            return
        if SPELT[who] == "" and not said:
            raise Violation("approval", f"{who!r} approved a plan")
        terms = {"days": days, "max_rounds": rounds, "standing": standing}
        self.book.vote(sha, SPELT[who], sure=not said, **terms)
        self._copy()

    @move(which=WHICH, who=WHO, how=st.sampled_from(["rejects", "revokes"]), kill_at=DYING)
    def a_colleague(self, which: int, who: str, how: str, kill_at: int) -> None:
        do = decisions.reject if how == "rejects" else decisions.revoke
        sha = PLANS[which].sha256
        if not self.command(do, sha, who=who, reason=OWN_WORDS, kill_at=kill_at):
            if SPELT[who] == "":
                raise Violation("approval", f"{who!r} decided on a plan")
            self.book.close(sha)

    @move(which=WHICH)
    def a_colleague_revokes_while_the_agent_looks(self, which: int) -> None:
        """Between the agent's look at the approval and its reservation."""
        agent, sha = self.net.agent, PLANS[which].sha256
        if agent is None:
            return
        reserve = agent._admission.reserve

        def revoked_meanwhile(job):
            with contextlib.suppress(DatasitesError):
                revoke(self.net.site, sha, reviewer=REVIEWERS[0], reason=OWN_WORDS)
                self.book.close(sha)
            return reserve(job)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(agent._admission, "reserve", revoked_meanwhile)
            self.step()

    def _copy(self) -> None:
        for path in (self.net.site_root / "approvals").glob("[!.]*.json"):
            self.copies.append((path.name, path.read_bytes()))

    @move(pick=PICK, how=st.sampled_from(["put back", "put back", "altered", "cut", "moved"]))
    def an_approvals_file_is(self, pick: int, how: str) -> None:
        """What somebody with access to the disk does to it."""
        copy = picked(self.copies, pick)
        if copy is None:
            return
        name, data = copy
        match how:
            case "altered":
                data = data.replace(b'"quorum"', b'"x"').replace(b"Dr Reed", b"Dr Shaw")
            case "cut":
                data = data[: len(data) // 2]
            case "moved":
                name = f"{PLANS[pick % len(PLANS)].sha256}.json"
        (self.net.site_root / "approvals" / name).write_bytes(data)

    # --- time and money ---------------------------------------------------------------------

    @move(days=st.sampled_from([-400, -40, -1, 0, 0, 1, 2, 25]))
    def the_clock_is_set(self, days: int) -> None:
        Clock.ahead += timedelta(days=days)
        if Clock.ahead > timedelta(days=400):
            Clock.ahead = timedelta()

    @move(
        epsilon=st.sampled_from(AMOUNTS), delta=st.sampled_from([1e-5, 1e-5, 1e-6, 0.9]),
        of=st.sampled_from(["", "", "researcher", "study"]), reset=st.booleans(),
        reason=st.sampled_from([OWN_WORDS, ""]),
    )  # fmt: skip
    def the_owner_sets_a_budget(
        self, epsilon: float, delta: float, of: str, reset: bool, reason: str
    ) -> None:
        said = self.command(
            budgets.budget, epsilon=epsilon, who="owner", reason=reason, delta=delta, reset=reset,
            researcher=ANN if of == "researcher" else "", window_days=None,
            study="first" if of == "study" else "",
        )  # fmt: skip
        if not said:
            if not reason or not 0 < epsilon < float("inf") or delta > 1e-3:
                raise Violation("budget", f"a budget of {epsilon} at {delta} was taken")
            self.book.limits[of] = epsilon

    @move(how=st.sampled_from(["put back", "put back", "settled"]))
    def an_old_ledger_is(self, how: str) -> None:
        """An owner restores a copy; nothing may run while it is behind the site's own receipts."""
        newest = self.net.site.ledger_path.read_bytes()
        if not RequestStore(self.net.site).receipts():
            self.ledgers.append(newest)
            return
        old, ran = picked(self.ledgers, 0), len(self.net.jobs.given)
        if old is None or len(self.net.jobs.given) == 0:
            return
        self.net.stop()
        self.net.site.ledger_path.write_bytes(old)
        self.net.reopen()
        with self.watch.stepping():
            self.net.step()
            self.net.step()
        if len(self.net.jobs.given) != ran:
            raise Violation("behind", "a job ran while the ledger was behind")
        if how == "settled":
            if self.command(budgets.settle_loss, who="owner", reason=OWN_WORDS):
                raise Violation("behind", "the loss of entries cannot be settled")
            self.net.reopen()
            self.watch.begin_anew()
            if self.watch.epsilon != float("inf"):
                raise Violation("spends", "what was lost counts as nothing")
            self.ledgers.clear()
            return
        self.net.stop()
        self.net.site.ledger_path.write_bytes(newest)
        self.net.reopen()
        self.step()

    @move()
    def the_owner_settles_what_is_not_lost(self) -> None:
        if not self.command(budgets.settle_loss, who="owner", reason=OWN_WORDS):
            raise Violation("behind", "a loss was settled where nothing was lost")

    # --- the desk ---------------------------------------------------------------------------

    @move(
        pick=PICK,
        who=WHO,
        how=st.sampled_from(["releases", "releases", "withholds"]),
        kill_at=DYING,
    )
    def at_the_desk_a_colleague(self, pick: int, who: str, how: str, kill_at: int) -> None:
        item = picked([one for one in Desk(self.net.site).items() if one.is_open], pick)
        if item is None:
            return
        do = releases.release if how == "releases" else releases.withhold
        said = self.command(do, item.id, who=who, reason=OWN_WORDS, kill_at=kill_at)
        if said in ("", "killed") and how == "releases":
            self.book.may_leave.add(item.request)
            if not said and (SPELT[who] == "" or self.book.yes[item.plan_sha256].closed):
                raise Violation("released", f"{who!r} released {item.id}")

    @move(which=WHICH, who=WHO, how=st.sampled_from(["set", "set", "withdrawn"]), pick=PICK)
    def a_release_rule_is(self, which: int, who: str, how: str, pick: int) -> None:
        if how == "set":
            said = self.command(
                releases.rule, PLANS[which].sha256, who=who, reason=OWN_WORDS, kinds="hospital",
                days=None,
            )  # fmt: skip
        else:
            known = RuleBook(self.net.site, Desk(self.net.site)).all()
            name = getattr(picked(known, pick), "id", "rule-0")
            said = self.command(releases.unrule, name, who=who, reason=OWN_WORDS)
        if not said and SPELT[who] == "":
            raise Violation("released", f"{who!r} changed a rule")

    # --- Ann --------------------------------------------------------------------------------

    @move(which=WHICH, number=st.integers(1, 3), slot_over=st.booleans())
    def ann_asks(self, which: int, number: int, slot_over: bool) -> None:
        self.number += 1
        task = self.train(f"t-{self.number}", PLANS[which], round=number, steps=1 + number % 2)
        with contextlib.suppress(DatasitesError):
            self.ask_honestly(ANN, task)
        self.step(slot_over=slot_over)


@pytest.mark.timeout(3600)
def test_whatever_colleagues_do_every_invariant_holds(play_moves):
    made = play_moves(HostileColleague)
    assert len(made) > 15
