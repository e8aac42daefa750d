"""After any death each request ended once, no spend or release is lost or doubled, receipts hold.

Every test here kills real processes with SIGKILL (or takes their disk or relay away) in the middle
of a study over three hospitals, starts again what died, lets the study end, and has
`crashkit.checker` compare ledgers, receipts, releases, records, checkpoints and what still runs.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from crashkit.boundaries import PowerCut, label
from crashkit.checker import processes_of
from crashkit.scenario import Point, Scenario
from crashkit.sweep import choose, recorded
from crashkit.world import HOSPITALS

SAMPLE = [
    # The spend is in the ledger but not synced, and the machine loses its power.
    Point("A", "fsync sites/A/ledger.jsonl", 1, "power"),
    # The spend was committed; nothing is on the desk yet.
    Point("A", "mkdir sites/A/desk/crash-#-r0001-weights", 1),
    # Everything at once, as an answer is being put on the relay.
    Point("B", "rename relay/channels/owner@hospital-b.example/outbox/"
          "researcher@university.example/syfteventsmessagev3_#.tar.gz", 1, "machine"),
    # The checkpoint is there, and the state that counts its round is not.
    Point("orchestrator", "rename run/state.json", 3, "power"),
]  # fmt: skip


@pytest.mark.parametrize("point", SAMPLE, ids=str)
def test_a_death_at(point, play):
    play(point)


@pytest.mark.whole
def test_the_sweep(request, play):
    """Every kind of step of every victim, under every fault."""
    wanted = request.config.getoption("--crash-points")
    recording = play(Point("nobody"), record=True)
    turn = request.config.getoption("--crash-turn")
    points = choose(recorded(recording), wanted, turn=turn)
    assert len(points) >= min(wanted, 30)

    def attempt(point: Point) -> str:
        try:
            play(point)
        except AssertionError as error:
            return f"{point}: {error}"
        return ""

    with ThreadPoolExecutor(3) as pool:
        found = [text for text in pool.map(attempt, points) if text]
    print(f"{len(points)} points, {len(found)} failures")
    assert not found, "\n\n".join(found)


# --- jobs, disks, relays -------------------------------------------------------------------------


@pytest.fixture
def begun(world, zygote):
    """A study whose processes the test tends itself."""
    scenario = Scenario(world, zygote, Point("nobody"))
    scenario.logs.mkdir()
    yield scenario
    scenario.kill_all()


def _descendants(pid: int) -> set[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found, more = set(), {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more} - found
        found |= more
    return found


def _until(done, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_sandbox_and_all_in_it_dies_with_its_agent(begun, zygote):
    pid = begun.start("A")
    _until(lambda: len(_descendants(pid)) >= 3, "a warm sandbox")
    inside = _descendants(pid)
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not any(map(_alive, inside)), "the sandbox to die", 10)
    assert not processes_of(begun.world.root)
    begun.start("A")
    _until(lambda: len(_descendants(begun.pids["A"])) >= 3, "the next agent's sandbox")


def test_a_second_agent_of_a_site_refuses(begun, zygote):
    begun.start("A")
    _until(lambda: _descendants(begun.pids["A"]), "the first agent to work")
    first = begun.pids["A"]
    second = begun.start("A")
    assert zygote.wait(second, 60) == 70
    assert "another agent already serves" in begun.log("A")
    assert zygote.ended(first) is None
    os.kill(first, signal.SIGKILL)


@pytest.mark.whole
def test_a_killed_job_fails_and_the_study_goes_on(play):
    """The program inside A's sandbox is stopped before its job comes, then killed with the job."""
    seen: list[float] = []

    def kill_job(scenario: Scenario) -> bool:
        inside = {one for one in _descendants(scenario.pids["A"]) if b"standin" in _words(one)}
        if not inside:
            return False
        for pid in inside:
            os.kill(pid, signal.SIGSTOP)
        if scenario.running("A"):
            seen.append(time.monotonic())
        if not seen or time.monotonic() - seen[0] < 1:
            return False
        for pid in inside:
            with suppress(ProcessLookupError):  # it went with its parent
                os.kill(pid, signal.SIGKILL)
        scenario.losses["A", "job_failed"] += 1
        return True

    scenario = play(Point("nobody"), fault=kill_job)
    states = scenario.states("A")
    assert sorted(states.values()).count("failed") == 1, states


@pytest.mark.whole
def test_a_machine_that_dies_takes_the_jobs_of_all_who_ran_on_it(play):
    """B and C are in the middle of their jobs as the machine goes at a step of A's.

    All three hospitals and the researcher share one machine here, so two jobs are lost, each said
    once; the round falls short of its quorum, and is resumed with A's update as it was.
    """

    def hold(scenario: Scenario) -> bool:
        if scenario.died:
            return True  # whoever comes next runs freely
        ready = scenario.running("B") and scenario.running("C")
        for name in HOSPITALS:
            number = signal.SIGCONT if name == "A" and ready else signal.SIGSTOP
            for pid in _descendants(scenario.pids[name]):
                if b"standin" in _words(pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
        return False

    point = Point("A", "mkdir sites/A/desk/crash-#-r0001-weights", 1, "machine")
    scenario = play(point, fault=hold)
    lost = [list(scenario.states(name).values()).count("failed") for name in HOSPITALS]
    assert (lost, scenario.short) == ([0, 1, 1], True)


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.whole
def test_a_full_disk_refuses_nothing_for_good(play):
    """No file of A's agent may grow beyond its ledger for a while: a limit the kernel keeps."""
    began: list[float] = []

    def fill(scenario: Scenario) -> bool:
        pid = scenario.pids["A"]
        if not began:
            size = (scenario.world.site("A") / "ledger.jsonl").stat().st_size
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
            began.append(time.monotonic())
        if "trying again" not in scenario.log("A"):
            return False
        resource.prlimit(
            pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        return True

    scenario = play(Point("nobody"), fault=fill)
    assert set(scenario.states("A").values()) == {"done"}


@pytest.mark.whole
def test_a_relay_that_goes_away_and_comes_back(play):
    away: list[float] = []

    def take_away(scenario: Scenario) -> bool:
        relay, gone = scenario.world.relay, scenario.world.root / "gone"
        if not away:
            if not scenario.running("A"):
                return False
            relay.rename(gone)
            away.append(time.monotonic())
        if time.monotonic() - away[0] < 1.5:
            return False
        gone.rename(relay)
        return True

    scenario = play(Point("nobody"), fault=take_away)
    for name in "ABC":
        assert set(scenario.states(name).values()) == {"done"}


@pytest.mark.whole
def test_a_relay_whose_listings_are_stale_and_in_disorder_while_the_clock_goes_back(play):
    scenario = play(Point("nobody"), odd_relay=True)
    for name in "ABC":
        assert set(scenario.states(name).values()) == {"done"}


# --- the instruments themselves -------------------------------------------------------------------


def test_labels_are_the_same_in_every_run(tmp_path):
    for one, other in [
        ("jobs/.crash-0a1b2c3d-r0001.json.0123456789abcdef", "jobs/.crash-#-r0001.json.#"),
        ("o/syfteventsmessagev3_1764000000.123_5a1c2d3e-1b2c-4d3e-8f90-0123456789ab.tar.gz",
         "o/syfteventsmessagev3_#.tar.gz"),
    ]:  # fmt: skip
        assert label("open", str(tmp_path / one), str(tmp_path)) == f"open {other}"


def test_turns_take_other_points_and_other_faults_at_the_same_ones():
    found = [("A", f"rename {number}", 1) for number in range(100)]
    turns = [choose(found, 40, turn=turn) for turn in range(3)]
    assert [len({str(point) for point in points}) for points in turns] == [40] * 3
    assert turns[0] == choose(found, 40)
    assert {point.fault for point in turns[1]} == {"kill", "power", "machine"}
    assert len({point.label for points in turns for point in points}) > 80
    assert choose(found, 100, turn=1) != choose(found, 100)


def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    cut = PowerCut((str(home),), tmp_path / "undo")

    def write(name: str, data: str, *, synced: bool) -> None:
        cut.before("open", str(home / name), "")
        (home / name).write_text(data)
        if synced:
            cut.before("fsync", str(home / name), "")

    write("kept", "old", synced=True)
    cut.before("fsync", str(home), "")
    write("new", "new", synced=True)
    cut.before("rename", str(home / "kept"), str(home / "new"))
    (home / "new").rename(home / "kept")
    write("torn", "half", synced=False)
    cut.before("mkdir", str(home / "lost"), "")
    (home / "lost").mkdir()
    cut.happen()
    assert {path.name: path.read_text() for path in home.iterdir()} == {"kept": "old"}
