"""The program itself: exit codes, one line a refusal, Ctrl-C, and what needs no network."""

import errno
import sys

import pytest

from datasites import IngestError, RelayError
from datasites.errors import PeerKeyError
from orchestrator import cli
from orchestrator.commands.interrupt import interruptible, watch
from orchestrator.demo import CLASSES, RESEARCHER, Demo, email_of, plan_words, write_phantoms
from orchestrator.errors import (
    HospitalRefusedError,
    QuorumError,
    StudyError,
    StudyInterruptedError,
    VerificationError,
)
from orchestrator.hospitals.receipts import check_receipt, read_receipt
from orchestrator.rounds.scoring import TestSet as LabelledSet


@pytest.fixture
def dura(monkeypatch, capsys):
    """Run the program: exit code and what it said on standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["dura", *map(str, words)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return int(ending.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StudyError("x"), 2),
        (IngestError("x"), 2),
        (HospitalRefusedError("a", "no_card", "x"), 3),
        (RelayError("x"), 4),
        (QuorumError("x", needed=2, received=1), 5),
        (VerificationError("x"), 6),
        (PeerKeyError("x"), 6),
        (StudyInterruptedError("x"), 130),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "file"), 2),
    ],
)
def test_every_refusal_is_one_line_and_a_code(dura, monkeypatch, error, code):
    def app():
        raise error

    monkeypatch.setattr(cli, "app", app)
    found, said = dura()
    assert found == code
    assert said.startswith("dura: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("study", "status", "nowhere"),
        ("study", "check", "nowhere"),
        ("study", "run", "nowhere", "--test", "nowhere"),
        ("study", "evaluate", "--model", "nowhere", "--data", "nowhere"),
        ("demo", "--data", "nowhere", "--out", "nowhere"),
    ],
)
def test_a_wrong_path_is_named(dura, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, said = dura(*words)
    assert code == 2
    assert "nowhere" in said
    assert len(said.splitlines()) == 1


def test_ctrl_c_says_how_to_go_on(tmp_path):
    with (
        pytest.raises(StudyInterruptedError, match="study resume") as caught,
        interruptible(tmp_path),
    ):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130


def test_other_errors_pass_through_a_watched_run(paper, tmp_path):
    study, _ = paper

    def run():
        with interruptible(tmp_path), watch(study) as progress:
            progress.begin("round 1", 3)
            raise StudyError("x")

    with pytest.raises(StudyError, match="x"):
        run()


def test_a_demo_never_removes_what_is_no_demo(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for replace in (False, True):
        with pytest.raises(StudyError, match="not empty"):
            Demo(tmp_path, None, epsilon=7.8, replace=replace)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_demo_replaces_an_earlier_one_only_when_told(tmp_path):
    (tmp_path / "relay").mkdir()
    with pytest.raises(StudyError, match="--replace"):
        Demo(tmp_path, None, epsilon=7.8)
    Demo(tmp_path, None, epsilon=7.8, replace=True)
    assert not list(tmp_path.iterdir())


def test_a_demo_of_the_default_plan_has_the_plan_of_a_new_study(dura, tmp_path):
    (tmp_path / "relay").mkdir()
    common = ("--name", "n", "--email", RESEARCHER, "--relay", str(tmp_path / "relay"))
    common += ("--hospitals", "a@x.example")
    texts = []
    for name, words in (
        ("new", ()),
        ("demo", plan_words(rounds=None, epsilon=7.8, default_plan=True)),
        ("short", plan_words(rounds=None, epsilon=7.8, default_plan=False)),
    ):
        study = tmp_path / name
        code, said = dura(
            "study", "init", str(study), *common, "--hospitals", "a@x.example", *words
        )
        assert code == 0, said
        texts.append((study / "study.toml").read_text())
    new, demo, short = texts
    assert demo == new
    assert "rounds = 40" in new
    assert "[generator]" not in new
    assert "rounds = 4\n" in short
    assert "[generator]" in short
    assert plan_words(rounds=7, epsilon=3.0, default_plan=True)[-2:] == ("--rounds", "7")


def test_phantoms_are_files_that_can_be_scored(tmp_path):
    write_phantoms(tmp_path, per_class=2, seed=1)
    found = LabelledSet(tmp_path, classes=CLASSES, image_size=64)
    assert found.images.shape == (8, 64, 64)
    assert sorted(found.labels) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert email_of("A") == "owner@hospital-a.example"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"receipt":{}}', "1e999"])
def test_a_text_that_is_no_receipt(text):
    with pytest.raises(VerificationError, match="not a receipt"):
        read_receipt(text)
    with pytest.raises(VerificationError):
        check_receipt(text, public_hex="0" * 64)
