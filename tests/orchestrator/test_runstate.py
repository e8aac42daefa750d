"""A run on disk is there whole or not at all, and goes on where it was."""

import errno
import json

import pytest
import torch

from orchestrator.aggregation.contribution import Contribution
from orchestrator.errors import StudyError
from orchestrator.rounds.progress import RoundScore
from orchestrator.rounds.run_folder import STATE_FILE, RoundTiming, RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def state(folder, tmp_path):
    return folder.start(study="tumours", plan_sha256="a" * 64, test=tmp_path)


def test_a_state_comes_back_as_it_was(folder, state):
    state.rounds_done = 1
    state.generators_done = True
    state.refusals = {"a": ["budget_exceeded"]}
    state.spent_requests = {"a": ["tumours-r0001"]}
    state.scores.append(RoundScore(round=1, loss=1.0, accuracy=0.5, macro_f1=0.25))
    state.contributions.append(
        Contribution(
            round=1,
            hospital="a",
            units=3.5,
            update_norm=1.0,
            cosine_to_aggregate=None,
            epsilon=float("inf"),
            delta=1e-5,
            wall_s=1.0,
        )
    )
    state.timings.append(RoundTiming(round=1, wall_s=3.0, slot_s=2.0))
    folder.save(state)
    found = folder.load()
    assert found.model_dump(exclude={"contributions"}) == state.model_dump(
        exclude={"contributions"}
    )
    assert found.contributions[0].hospital == "a"


def test_an_infinite_epsilon_survives_the_disk(folder, state):
    """After a case report left, a hospital's epsilon is infinite; the run must still resume."""
    state.contributions.append(
        Contribution(
            round=1,
            hospital="a",
            units=3.5,
            update_norm=1.0,
            cosine_to_aggregate=0.5,
            epsilon=float("inf"),
            delta=1e-5,
            wall_s=1.0,
        )
    )
    folder.save(state)
    assert folder.load().contributions[0].epsilon == float("inf")


def test_everything_in_a_run_is_for_this_account_alone(folder, state):
    folder.save_receipt("a", "r1", "{}")
    folder.save_keys({"a": "ab"})
    folder.write("reports/a/case-1.txt", b"of one patient")
    with folder.alone():
        pass
    for path in (folder.root, *folder.root.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_two_runs_never_share_request_ids(tmp_path):
    states = [
        RunFolder(tmp_path / str(n)).start(study="s", plan_sha256="a", test=tmp_path)
        for n in range(20)
    ]
    assert len({state.nonce for state in states}) == 20


def test_a_run_is_not_started_over_another(folder, state, tmp_path):
    before = (folder.root / STATE_FILE).read_bytes()
    with pytest.raises(StudyError, match="study resume"):
        folder.start(study="other", plan_sha256="b" * 64, test=tmp_path)
    assert (folder.root / STATE_FILE).read_bytes() == before
    assert state.study == "tumours"


def test_no_run_is_said_to_be_none(folder):
    with pytest.raises(StudyError, match="holds no run"):
        folder.load()


@pytest.mark.parametrize("damage", ["cut", "field", "nonce", "empty"])
def test_a_damaged_state_is_refused(folder, state, damage):
    path = folder.root / STATE_FILE
    values = json.loads(path.read_text())
    if damage == "field":
        path.write_text(json.dumps(values | {"more": 1}))
    elif damage == "nonce":
        path.write_text(json.dumps(values | {"nonce": "../../.."}))
    else:
        path.write_text(path.read_text()[:40] if damage == "cut" else "")
    with pytest.raises(StudyError, match="damaged"):
        folder.load()
    assert state.version == 1


def test_a_write_that_fails_leaves_the_old_file(folder, state, monkeypatch):
    folder.write("file", b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("datasites.durable.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        folder.write("file", b"new")
    monkeypatch.undo()
    assert (folder.root / "file").read_bytes() == b"old"
    assert not list(folder.root.glob(".file*"))
    assert state.rounds_done == 0


def test_what_a_killed_writer_left_is_in_nobodys_way(folder):
    (folder.root).mkdir()
    (folder.root / ".file.partial").mkdir()
    (folder.root / ".file.0123456789abcdef").write_bytes(b"half")
    folder.write("file", b"new")
    assert (folder.root / "file").read_bytes() == b"new"


def test_one_orchestrator_conducts_a_run(folder, state):
    with folder.alone():
        with (
            pytest.raises(StudyError, match="another `dura study`"),
            RunFolder(folder.root).alone(),
        ):
            pass
        assert folder.load() == state
    with RunFolder(folder.root).alone():
        assert folder.load() == state


def test_what_fails_within_a_run_is_not_called_another_run(folder, state):
    with pytest.raises(BlockingIOError, match="of the work itself"), folder.alone():
        raise BlockingIOError("of the work itself")
    with folder.alone():
        assert folder.load() == state


def test_no_partial_file_stays(folder, state):
    folder.save(state)
    folder.save_receipt("a@hospital.example", "r1", "{}")
    folder.save_keys({"a": "00"})
    assert not list(folder.root.rglob("*.partial"))
    assert (folder.root / "receipts/a@hospital.example/r1.json").read_text() == "{}"
    assert json.loads((folder.root / "keys.json").read_text()) == {"a": "00"}


def test_checkpoints_are_exact(folder):
    weights = {"w": torch.randn(3, 2), "n": torch.tensor(3)}
    folder.save_checkpoint(7, weights, {"m": torch.ones(2)})
    found, strategy = folder.checkpoint(7)
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert torch.equal(strategy["m"], torch.ones(2))


@pytest.mark.parametrize(("wall", "slot", "over"), [(3.0, 2.0, 1.0), (1.0, 2.0, 0.0)])
def test_overhead_is_what_is_not_the_slot(wall, slot, over):
    assert RoundTiming(round=1, wall_s=wall, slot_s=slot).overhead_s == over


def test_the_last_rounds_are_averaged_and_integers_are_those_of_the_last(folder):
    for number, value in ((1, 0.0), (2, 2.0), (3, 4.0)):
        weights = {"w": torch.full((2,), value), "n": torch.tensor(number)}
        folder.save_checkpoint(number, weights, {})
    for rounds, mean in ((1, 4.0), (2, 3.0), (3, 2.0), (9, 2.0)):
        final = folder.averaged(3, rounds=rounds)
        assert final["w"].tolist() == [mean, mean]
        assert final["w"].dtype == torch.float32
        assert int(final["n"]) == 3
