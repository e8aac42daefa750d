"""Links that somebody laid on the relay, under a running agent and before one that starts."""

from __future__ import annotations

import shutil

import pytest

from datasites.errors import MailboxError
from datasites.owner.doctor import Health, examine
from datasites.plans.answers import Status

HOSPITAL = "a@hospital.example"
BOX = f"channels/{HOSPITAL}/outbox"


def links_to(elsewhere, place):
    """`place` moved away and a link to `elsewhere` in its stead; returns how to mend that."""
    elsewhere.mkdir()
    away = place.with_name("away")
    place.rename(away)
    place.symlink_to(elsewhere)

    def mend():
        place.unlink()
        away.rename(place)

    return mend


def relay_finding(world):
    [found] = [one for one in examine(world.site) if one.name == "relay"]
    return found


def test_a_linked_outbox_gets_nothing_stops_no_agent_and_the_answer_leaves_once_it_is_mended(
    approved, cold, tmp_path
):
    world, agent, elsewhere = approved, approved.agents[-1], tmp_path / "elsewhere"
    mend = links_to(elsewhere, world.root / "relay" / BOX)
    world.ask(world.task(round=99))  # is refused, which is an answer too
    for _ in range(3):
        agent.step()
    assert list(elsewhere.rglob("*")) == []
    assert world.answer("t1") is None
    told = relay_finding(world)
    assert told.health is Health.PROBLEM
    assert f"a link stands where the folder {BOX} should be" in told.what
    mend()
    agent.step()
    answer = world.answer("t1")
    assert answer is not None
    assert answer.status is Status.REFUSED
    assert relay_finding(world).health is Health.FINE


def test_an_agent_says_what_stands_where_its_public_folder_was_and_starts_once_it_is_mended(
    approved, tmp_path
):
    world, elsewhere = approved, tmp_path / "elsewhere"
    world.agents.pop().close()
    public = world.root / "relay" / "pub" / HOSPITAL
    shutil.rmtree(public)
    public.mkdir()
    mend = links_to(elsewhere, public)
    with pytest.raises(MailboxError, match=f"a link stands where the folder pub/{HOSPITAL} should"):
        world.start()
    assert f"pub/{HOSPITAL}" in relay_finding(world).what
    assert list(elsewhere.rglob("*")) == []
    mend()
    world.start().step()
    assert (public / "SYFT_version.json").is_file()


def test_a_linked_inbox_is_read_by_nobody(approved, tmp_path):
    world, agent, elsewhere = approved, approved.agents[-1], tmp_path / "elsewhere"
    world.ask(world.task(round=99))
    inbox = world.root / "relay" / "channels" / HOSPITAL / "inbox"
    mend = links_to(elsewhere, inbox)
    shutil.copytree(inbox.with_name("away"), elsewhere, dirs_exist_ok=True)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    agent.step()
    assert before
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    mend()
    agent.step()
    assert world.answer("t1") is not None
