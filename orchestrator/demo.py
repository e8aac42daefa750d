"""The demonstration: one study over five hospitals, told step by step.

Nothing in it is simulated but the people and, without `--data`, the images: every hospital is a
datasite in a process of its own, every step is a `dura` command that is printed and can be
repeated by hand, and the fingerprints that people would compare by telephone are read here from
both sides. Everything lies below one folder; agents end with the demonstration.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from datasites import Site, causes, say, say_text
from models import draw_phantoms
from orchestrator.errors import OrchestratorError, StudyError
from privacy import per_unit

HOSPITALS = ("A", "B", "C", "D", "E")
RESEARCHER = "researcher@university.example"
PHANTOMS_PER_CLASS = 500
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
BUDGET = 8.0
FEW_ROUNDS = 4


def plan_words(*, rounds: int | None, epsilon: float, default_plan: bool) -> tuple[str, ...]:
    """What `dura study init` is told about the plan.

    Args:
        rounds: None leaves them to the recipe, or to the demonstration.
        epsilon: of the study.
        default_plan: the plan of `dura study init` as it is; else a short one with a generator,
            so that every kind of job is seen.
    """
    words = ["--epsilon", str(epsilon)]
    if not default_plan:
        words += ["--generator"]
        rounds = FEW_ROUNDS if rounds is None else rounds
    return tuple(words if rounds is None else [*words, "--rounds", str(rounds)])


def email_of(name: str) -> str:
    """A hospital's syft identity in the demonstration."""
    return f"owner@hospital-{name.lower()}.example"


class Demo:
    """One demonstration in `out`.

    Raises:
        StudyError: `data` is no folder, or `out` is in use and `replace` is not given.
        OrchestratorError: a step failed; the message is that step's own.
    """

    def __init__(
        self,
        out: Path,
        data: Path | None,
        *,
        epsilon: float,
        rounds: int | None = None,
        default_plan: bool = False,
        replace: bool = False,
    ) -> None:
        if data is not None and not data.is_dir():
            raise StudyError(f"{data} is not a folder; --data wants one folder a class in it")
        if out.exists() and any(out.iterdir()):
            if not replace or not (out / "relay").is_dir():
                raise StudyError(f"{out} is not empty; choose another --out, or --replace a demo")
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        self.out = out
        self._data = data
        self._plan = plan_words(rounds=rounds, epsilon=epsilon, default_plan=default_plan)
        self._started = time.monotonic()
        self._agents: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Go through the whole study."""
        # Whoever ends the demonstration ends the agents it started as well.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with ExitStack() as ending:
            ending.callback(self._end_agents)
            self._prepare_data()
            self._create_sites()
            self._start_agents()
            self._pair()
            self._submit()
            self._approve()
            self._train()
            self._decide_reports()
        self._audit()
        self._summary()

    # --- steps ----------------------------------------------------------------------------

    def _prepare_data(self) -> None:
        source = self._data
        if source is None:
            self._tell("nobody yet", "draws synthetic phantoms (no patient data), four classes")
            source = self.out / "phantoms"
            write_phantoms(source, per_class=PHANTOMS_PER_CLASS, seed=7)
        self._tell("nobody yet", "divides the images: five hospitals and the researcher's test set")
        self._dura(
            "data",
            "split",
            str(source),
            "--out",
            str(self.out / "data"),
            "--clients",
            "5",
            "--test",
            "0.2",
            "--holdout",
            "0.2",
        )

    def _create_sites(self) -> None:
        self._tell("data owners", "create their sites, set a budget, ingest their images")
        (self.out / "relay").mkdir()
        self._each(self._create_site)

    def _create_site(self, name: str) -> str:
        site = self._site(name)
        self._quiet(
            "site",
            "init",
            site,
            "--name",
            name,
            "--email",
            email_of(name),
            "--relay",
            str(self.out / "relay"),
            "--epsilon",
            str(BUDGET),
            "--delta",
            "1e-5",
        )
        data = self.out / "data"
        return self._quiet(
            "site",
            "ingest",
            site,
            str(data / f"client_{name}_train"),
            "--test",
            str(data / f"client_{name}_test"),
        )

    def _start_agents(self) -> None:
        self._tell("data owners", "start their agents: one process each, `dura site serve`")
        (self.out / "logs").mkdir()
        for name in HOSPITALS:
            with (self.out / "logs" / f"{name}.log").open("wb") as log:
                self._agents[name] = subprocess.Popen(
                    [*_program(), "site", "serve", self._site(name)],
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def _pair(self) -> None:
        self._tell("researcher", "creates a study and asks the hospitals to pair")
        sites = ",".join(email_of(name) for name in HOSPITALS)
        self._dura(
            "study",
            "init",
            self._study,
            "--name",
            "brain-tumours",
            "--email",
            RESEARCHER,
            "--relay",
            str(self.out / "relay"),
            "--hospitals",
            sites,
            *self._plan,
        )
        asked = self._quiet("study", "pair", self._study)
        own = asked.splitlines()[0].rsplit(" ", 1)[-1]
        self._tell("both sides", f"compare fingerprints by telephone; the researcher's is {own}")
        marks = self._each(lambda name: self._pair_site(name, own))
        pins = [
            part
            for name, mark in zip(HOSPITALS, marks, strict=True)
            for part in ("--pin", f"{email_of(name)}={mark}")
        ]
        self._dura("study", "pair", self._study, *pins)

    def _pair_site(self, name: str, researcher_mark: str) -> str:
        said = self._quiet(
            "site", "pair", self._site(name), RESEARCHER, researcher_mark, "--as", _owner(name)
        )
        return said.split()[-1]

    def _submit(self) -> None:
        self._tell("researcher", "rehearses the plan on mock data in the sandbox, then submits it")
        self._dura("study", "check", self._study)
        self._dura("study", "submit", self._study)

    def _approve(self) -> None:
        self._tell("data owners", "read what would run and what it costs here, then approve it")
        plans = self._each(self._wait_for_plan)
        self._dura("site", "show", self._site("A"), plans[0])
        for said in self._each(lambda name: self._approve_at(name, plans[0])):
            first, *_, rule = said.splitlines()
            say(f"    {first}; {rule}")

    def _approve_at(self, name: str, plan: str) -> str:
        return self._quiet(
            "site",
            "approve",
            self._site(name),
            plan,
            "--as",
            _owner(name),
            "--reason",
            "read line by line",
            "--standing-release",
            "--accept-synthetic",
        )

    def _wait_for_plan(self, name: str) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            lines = self._quiet("site", "requests", self._site(name)).splitlines()[1:]
            if lines:
                return lines[0].split()[0]
            self._check_agents()
        raise OrchestratorError(f"no plan reached {name}; see {self.out / 'logs'}")

    def _train(self) -> None:
        self._tell("researcher", "runs the rounds; hospitals check, reserve, train, commit")
        holdout = self.out / "data" / "researcher_test"
        words = ["study", "run", self._study, "--test", str(holdout)]
        words += ["--out", str(self.out), "--wait-s", "120"]
        say(f"  $ dura {' '.join(words)}")
        with subprocess.Popen([*_program(), *words]) as run:
            try:
                while run.poll() is None:
                    self._check_agents()
                    time.sleep(0.5)
            finally:
                run.terminate()
        if run.returncode != 0:
            raise OrchestratorError("`dura study run` failed; see above")

    def _decide_reports(self) -> None:
        self._tell("data owners", "decide on the reports that their LLaMa drafted; all were held")
        for told in self._each(self._decide_at):
            say_text(told)
        self._tell("researcher", "fetches what was released")
        time.sleep(2.0)
        self._dura("study", "reports", self._study)

    def _decide_at(self, name: str) -> str:
        """The people of this demonstration: cohort reports go, A lets one case go, B none.

        C, D and E have not decided on their cases yet when the demonstration ends.
        """
        waiting = self._quiet("site", "releases", "list", self._site(name), "--json")
        held = [(row["item"], row["kind"]) for row in json.loads(waiting)]
        first_case = next((item for item, kind in held if kind == "case"), "")
        told = []
        for item, kind in held:
            if kind in ("hospital", "global"):
                told.append(self._decide(name, "release", item, "its figures are noised or shared"))
            elif name == "A" and item == first_case:
                told.append(self._quiet("site", "releases", "show", self._site(name), item))
                told.append(self._decide(name, "release", item, "the patient consented"))
            elif name == "B":
                told.append(self._decide(name, "withhold", item, "not needed outside"))
        return "\n".join(f"    {line}" for part in told for line in part.splitlines())

    def _decide(self, name: str, decision: str, item: str, reason: str) -> str:
        desk = ("site", "releases", decision, self._site(name), item)
        words = (*desk, "--as", _owner(name), "--reason", reason)
        return f"$ dura {' '.join(words)}\n{self._quiet(*words)}"

    def _audit(self) -> None:
        self._tell("auditor", "verifies every ledger offline, against keys and receipts")
        self._dura("audit", "verify", str(self.out))
        self._tell("auditor", "computes every epsilon again from the ledgers")
        self._dura("audit", "report", str(self.out))

    def _summary(self) -> None:
        path = self.out / "summary.json"
        summary = json.loads(path.read_text())
        summary["wall_s"] = round(time.monotonic() - self._started, 1)
        path.write_text(json.dumps(summary, indent=1) + "\n")
        worst = max(summary["epsilon"].values())
        self._tell("everybody", "what came of it")
        for line in (
            f"accuracy {summary['test_accuracy']:.4f} on {summary['test_images']} test images",
            f"epsilon at most {worst:.3f} at delta 1e-05 {per_unit(' or '.join(summary['unit']))}",
            *noise_alone([self.out / "sites" / name for name in HOSPITALS]),
            f"reports: {summary['reports']}",
            f"overhead {summary['overhead_s_per_round']:.2f} s a round (the plan's slots excluded)",
            f"{summary['wall_s']} s in all; look at {self.out / 'report.html'}",
            f"and, as an auditor would, at {self.out / 'audit.html'}",
        ):
            say(f"    {line}")

    # --- commands and processes -------------------------------------------------------------

    @property
    def _study(self) -> str:
        return str(self.out / "study")

    def _site(self, name: str) -> str:
        return str(self.out / "sites" / name)

    def _tell(self, who: str, what: str) -> None:
        elapsed = time.monotonic() - self._started
        say()
        say(f"[{elapsed:5.1f} s] {who}: {what}")

    def _dura(self, *words: str) -> None:
        """Run one command and print it with what it says."""
        say(f"  $ dura {' '.join(words)}")
        for line in self._quiet(*words).splitlines():
            say(f"    {line}")

    def _quiet(self, *words: str) -> str:
        done = subprocess.run([*_program(), *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OrchestratorError(
                f"`dura {' '.join(words)}` failed: {' / '.join(done.stderr.strip().splitlines())}"
            )
        return done.stdout

    def _each(self, work: Callable[[str], str]) -> Sequence[str]:
        """Do the same at every hospital, two at a time."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            return list(pool.map(work, HOSPITALS))

    def _check_agents(self) -> None:
        for name, agent in self._agents.items():
            if agent.poll() is not None:
                log = (self.out / "logs" / f"{name}.log").read_text()[-500:]
                raise OrchestratorError(f"the agent of {name} ended: {log}")

    def _end_agents(self) -> None:
        for agent in self._agents.values():
            agent.send_signal(signal.SIGTERM)
        for agent in self._agents.values():
            agent.wait(timeout=60)


def noise_alone(sites: Sequence[Path]) -> list[str]:
    """What the owners know, who are all at one machine here: how often noise alone left, and why.

    Nobody else is told (`datasites.agent.completion`), so a study whose jobs outlasted their slots
    looks like one that learnt little.
    """
    why = Counter(cause.what for site in sites for cause in causes(Site.open(site)))
    if not why:
        return []
    what, _ = why.most_common(1)[0]
    return [
        f"{why.total()} jobs ended badly, so of them NOISE ALONE left, and the model is the worse "
        f"for it (mostly: {what}); is this machine too busy for the plan's slots? "
        "`dura site status SITE` tells its owner"
    ]


def write_phantoms(folder: Path, *, per_class: int, seed: int) -> None:
    """Phantoms as PNG files, one folder a class."""
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, per_class), size=64, seed=seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        path = folder / drawn.classes[int(label)] / f"phantom_{number:05d}.png"
        Image.fromarray(np.asarray(image)).save(path)


def _owner(name: str) -> str:
    return f"owner-{name}"


def _program() -> list[str]:
    return [sys.executable, "-m", "orchestrator.cli"]
