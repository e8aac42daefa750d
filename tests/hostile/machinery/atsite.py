"""What the machines at a hospital share: the agent that is stepped, the people, and honest Bob."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import initialize
from syft.sync.messages.proposed_filechange import ProposedFileChange, ProposedFileChangesMessage

from datasites.cli import decisions
from datasites.errors import DatasitesError
from datasites.plans import Bundle, Task, TrainTask, task_bytes
from datasites.syftnet import wire
from privacy import sha256_hex
from tests.hostile.machinery.book import Book
from tests.hostile.machinery.driving import Machine, Violation, move
from tests.hostile.machinery.ground import (
    ANN,
    BOB,
    BOBS,
    OWN_WORDS,
    PLANS,
    QUORUM,
    REVIEWERS,
    A,
    Network,
    silently,
)  # fmt: skip
from tests.hostile.machinery.standin import HOW, WEIGHTS, small_weights
from tests.hostile.machinery.watch import SERVED_WITHIN, Watch

START = small_weights()


class SiteMachine(Machine):
    """A machine whose moves meet one real hospital."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Network()
        self.net.jobs.install(self.patch)
        self.book = Book()
        self.net.start()
        self.book.begin(self.net.agent._link.paired())
        self.watch = Watch(self.net, self.book)
        self.waiting: dict[str, int] = {}
        self.rounds = 0

    def check(self) -> None:
        self.watch.check()

    def teardown(self) -> None:
        self.net.end()

    # --- the hospital -----------------------------------------------------------------------

    @initialize(known=st.booleans())
    def begins(self, known: bool) -> None:
        """Half of the plays begin with a plan of Ann's that is approved."""
        if known:
            self.net.links[ANN].submit(site=A, job="plan-0", files=PLANS[0].files)
            self.step()
            for person in REVIEWERS[:QUORUM]:
                self.approve(PLANS[0], person)

    def step(self, *, slot_over: bool = True, kill_at: int = 0) -> None:
        """One step of the agent; whom it answered is waited for no more."""
        with self.watch.stepping(kill_at=kill_at):
            self.net.step(slot_over=slot_over)
        self.watch.check()
        if self.waiting and slot_over:
            self.serve()

    def serve(self) -> None:
        """Bob takes what came; nobody honest waits for too long."""
        self.net.links[BOB].collect()
        for job in list(self.waiting):
            self.waiting[job] += 1
            if "answer.json" in self.net.links[BOB].received(A, job):
                del self.waiting[job]
            elif self.waiting[job] > SERVED_WITHIN:
                raise Violation("served", f"{job} of {BOB} was not answered")

    def approve(self, bundle: Bundle, person: str, *, days: int = 30, standing: bool = True) -> str:
        """A reviewer's yes by the command line; returns what was said against it."""
        rounds = bundle.plan.rounds
        said = self.command(
            decisions.approve, bundle.sha256, who=person, reason=OWN_WORDS, max_rounds=rounds,
            days=days, standing_release=standing, accept_synthetic=False,
        )  # fmt: skip
        if not said:
            self.book.vote(
                bundle.sha256, person, days=days, max_rounds=rounds, standing=standing
            )  # fmt: skip
        return said

    def revoke(self, bundle: Bundle, person: str) -> None:
        """A reviewer withdraws what was agreed."""
        if not self.command(decisions.revoke, bundle.sha256, who=person, reason=OWN_WORDS):
            self.book.close(bundle.sha256)

    def command(self, do, *words, **options) -> str:
        """A command of `dura site`; returns its refusal, empty where it did it."""
        try:
            silently(do, self.net.site_root, *words, **options)
        except (DatasitesError, ValueError) as error:
            return str(error) or type(error).__name__
        return ""

    @move(slot_over=st.sampled_from([True, True, False]))
    def the_agent_steps(self, slot_over: bool) -> None:
        self.step(slot_over=slot_over)

    @move(how=st.sampled_from(HOW))
    def the_next_job_ends(self, how: str) -> None:
        self.net.jobs.how = how

    @move()
    def bob_asks(self) -> None:
        """What he asks is always within his plan, and he waits for it."""
        if len(self.waiting) > 1:
            self.step()
            return
        self.rounds += 1
        task = self.train(f"bob-{self.rounds}", BOBS, round=self.rounds, steps=1)
        with contextlib.suppress(DatasitesError):
            self.ask_honestly(BOB, task)
            self.waiting[task.request] = 0

    # --- what researchers send --------------------------------------------------------------

    def train(self, request: str, bundle: Bundle, **fields: object) -> TrainTask:
        base = {
            "request": request, "plan_sha256": bundle.sha256, "round": 1, "steps": 1,
            "weights_sha256": sha256_hex(START), "learning_rate": 0.5,
        }  # fmt: skip
        return TrainTask.model_validate({**base, **fields})

    def ask_honestly(self, sender: str, task: Task) -> None:
        """By the researcher's own link, weights included."""
        self.book.send(sender, task)
        files = {"task.json": task_bytes(task), WEIGHTS: START}
        self.net.links[sender].submit(site=A, job=task.request, files=files)

    def envelope(self, files: dict[str, bytes], *, job: str, says: str = ANN, signs: str = ANN):
        """A job's files in a message that says whose it is, signed by anybody."""
        folder = Path(f"app_data/job/inbox/{says}/v1/{job}/code")
        changes = [
            ProposedFileChange(path_in_datasite=folder / name, content=data, datasite_email=A)
            for name, data in files.items()
        ]
        message = ProposedFileChangesMessage(sender_email=says, proposed_file_changes=changes)
        return self.net.seal(wire.pack(message.model_dump_json().encode()), sender=signs)

    def post(self, files: dict[str, bytes], *, job: str, box: str = ANN, **who: str) -> None:
        """The same, put into a researcher's place on the relay."""
        self.net.put(self.envelope(files, job=job, **who), box=box)
