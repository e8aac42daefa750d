"""A file of the site's own that is damaged: named, what depends on it refused, nothing ended."""

import json
import logging
import shutil

import pytest
from typer.testing import CliRunner

from datasites.cli.site import app
from datasites.desk import Desk
from datasites.errors import Reason
from datasites.owner.damage import damaged
from datasites.owner.doctor import Health, examine

GARBAGE = {
    "empty": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "null": b"null",
    "nested without end": b"[" * 100_000,
    "an object of something else": b'{"a": 1}',
    "not UTF-8": b"\xff\xfe\x00",
    "an integer of many digits": b"9" * 5_000,
    "zeros": bytes(512),
}
ITEM = {
    "id": "x1",
    "kind": "hospital",
    "study": "study",
    "plan_sha256": "0" * 64,
    "researcher": "r@university.example",
    "request": "x",
    "job": "x",
    "state": "held",
    "files": ["draft.json"],
}


def looked_at(world):
    """What status and doctor say."""
    told = CliRunner().invoke(app, ["status", str(world.site.root)])
    assert told.exit_code == 0, told.exception
    [own] = [one for one in examine(world.site) if one.name == "own files"]
    return told.output, own


@pytest.fixture
def serving(world):
    """An agent whose researcher has an approved plan, of which the decision has left."""
    world.submit_plan()
    agent = world.start()
    agent.step()
    world.approve()
    agent.step()
    return world


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_card_runs_nothing_and_ends_nothing(serving, garbage, caplog):
    path = serving.site.root / "card.json"
    before = path.read_bytes()
    path.write_bytes(GARBAGE[garbage])
    with caplog.at_level(logging.ERROR):
        answer = serving.refuse(serving.task("t1"))
        serving.agents[-1].step()
    assert answer.reason is Reason.DATASET_CHANGED
    assert sum("no task can run" in line for line in caplog.messages) == 1
    output, own = looked_at(serving)
    assert "DAMAGED" in output
    assert own.health is Health.PROBLEM
    serving.agents[-1].close()
    serving.start().step()  # it starts all the same
    path.write_bytes(before)
    assert not damaged(serving.site)
    assert looked_at(serving)[1].health is Health.FINE


def test_a_damaged_key_of_the_data_set_runs_nothing(serving):
    (serving.site.keys / "dataset.key").write_bytes(b"no hex")
    serving.agents[-1].close()
    serving.start()
    assert serving.refuse(serving.task("t1")).reason is Reason.DATASET_CHANGED
    assert looked_at(serving)[1].health is Health.PROBLEM


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_approval_is_no_approval(serving, garbage):
    path = serving.site.root / "approvals" / f"{serving.bundle.sha256}.json"
    path.write_bytes(GARBAGE[garbage])
    assert serving.refuse(serving.task("t1")).reason is Reason.NOT_APPROVED
    assert "DAMAGED" in looked_at(serving)[0]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_plan_is_none(serving, garbage):
    path = serving.site.root / "plans" / serving.bundle.sha256 / "submission.json"
    path.write_bytes(GARBAGE[garbage])
    assert serving.refuse(serving.task("t1")).reason is Reason.PLAN_CHANGED
    assert "DAMAGED" in looked_at(serving)[0]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_note_that_the_ledger_is_behind_runs_nothing(serving, garbage):
    (serving.site.root / "behind.json").write_bytes(GARBAGE[garbage])
    assert serving.refuse(serving.task("t1")).reason is Reason.LEDGER_BEHIND
    [own] = [one for one in examine(serving.site) if one.name == "own files"]
    assert own.health is Health.PROBLEM


@pytest.mark.parametrize("garbage", GARBAGE)
def test_damaged_items_rules_and_counts_are_passed_over_and_named(serving, garbage, caplog):
    root, data = serving.site.root, GARBAGE[garbage]
    for name in ("desk/x1/item.json", "release_rules/rule-1.json", "causes/old.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for path in root.glob("*refusals*.json"):
        path.write_bytes(data)
    (root / "approvals" / f"{serving.bundle.sha256}.synthetic.json").write_bytes(data)
    serving.agents[-1].close()
    with caplog.at_level(logging.ERROR):
        agent = serving.start()
        for _ in range(3):
            agent.step()
    assert sum("covers nothing" in line for line in caplog.messages) == 1
    assert list(Desk(serving.site).broken()) == ["x1"]
    output, own = looked_at(serving)
    for named in ("x1", "rule-1.json", "old.json"):
        assert named in output
    assert own.health is Health.PROBLEM
    # And a request that has nothing to do with it is looked at as ever.
    answer = serving.refuse(serving.task("t2", learning_rate=99.0))
    assert answer.reason is Reason.PARAMETER_OUT_OF_RANGE


FIELDS = [
    ("kind", "spell"),
    ("state", 7),
    ("files", None),
    ("files", "draft.json"),
    ("edits", "many"),
    ("edits", None),
    ("sent", "perhaps"),
    ("id", "another"),
    ("id", None),
    ("a field more", 1),
]


@pytest.mark.parametrize(("name", "value"), FIELDS)
def test_an_item_of_which_one_field_is_wrong_is_set_aside(serving, name, value):
    folder = serving.site.root / "desk" / "x1"
    folder.mkdir(parents=True)
    (folder / "item.json").write_text(json.dumps(ITEM))
    assert [item.id for item in Desk(serving.site).items()] == ["x1"]
    (folder / "item.json").write_text(json.dumps(ITEM | {name: value}))
    assert Desk(serving.site).items() == []
    assert "x1" in Desk(serving.site).broken()
    serving.agents[-1].step()


@pytest.mark.parametrize("state", ["draft", "held", "released", "withheld"])
def test_an_item_whose_files_are_gone_ends_nothing(serving, state):
    folder = serving.site.root / "desk" / "x1"
    folder.mkdir(parents=True)
    (folder / "item.json").write_text(json.dumps(ITEM | {"state": state}))
    serving.agents[-1].step()
    serving.agents[-1].close()
    serving.start().step()
    answer = serving.refuse(serving.task("t2", learning_rate=99.0))
    assert answer.reason is Reason.PARAMETER_OUT_OF_RANGE


def test_an_answer_waits_while_an_item_that_travels_with_it_is_damaged(serving):
    """Nobody can say whether it was released."""
    agent = serving.agents[-1]
    serving.refuse(serving.task("t1", learning_rate=99.0))
    request = agent._book.get("t1")
    agent._book.change(request, answered=False)
    folder = serving.site.root / "desk" / "t1-weights"
    folder.mkdir(parents=True)
    (folder / "item.json").write_bytes(b"{")
    agent.step()
    assert not agent._book.get("t1").answered
    shutil.rmtree(folder)
    agent.step()
    assert agent._book.get("t1").answered


def test_a_list_of_words_that_nobody_can_read_ends_nothing(serving):
    (serving.site.root / "identifiers.txt").write_bytes(b"\xff\xfe")
    serving.agents[-1].step()
    assert "identifiers.txt" in looked_at(serving)[0]
