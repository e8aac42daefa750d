"""What an agent costs and whom it waits for: spoiled mailboxes, records read once, quiet pauses."""

from __future__ import annotations

import io
import logging
import os
import shutil

import pytest

from datasites.agent.request_store import Request, RequestState, RequestStore
from datasites.errors import MailboxError, RelayError

HOSPITAL, RESEARCHER = "a@hospital.example", "r@university.example"


def _outbox(world):
    (folder,) = (world.root / "relay" / "channels").glob("*/outbox/*")
    return folder


def test_a_recipient_whose_mailbox_is_spoiled_gets_its_own_later(world, caplog):
    agent = world.start()
    agent.step()  # the card is sent, which makes the folder
    folder = _outbox(world)
    shutil.rmtree(folder)
    folder.write_bytes(b"no folder")
    world.submit_plan()
    agent.step()
    world.approve()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            agent.step()  # raises nothing: others are served
    assert caplog.text.count("is unusable") == 1
    folder.unlink()
    agent.step()
    assert "decision.json" in world.answers("plan-1")


def test_a_spoiled_mailbox_is_told_from_a_relay_that_is_gone(world):
    relay = world.link._connection.relay
    (world.root / "relay" / "box").write_bytes(b"")
    with pytest.raises(MailboxError):
        relay.put("box/file", b"")
    shutil.rmtree(world.root / "relay")
    with pytest.raises(RelayError) as gone:
        relay.put("file", b"")
    assert not isinstance(gone.value, MailboxError)


def _request(number: int, **fields: object) -> Request:
    values = {
        "id": f"request-{number}",
        "job": f"job-{number}",
        "sender": RESEARCHER,
        "received": f"2026-01-01T00:00:0{number}.000Z",
        "state": RequestState.QUEUED,
    }
    return Request(**{**values, **fields})


def test_records_are_read_again_only_when_they_changed(site, monkeypatch):
    from datasites.agent import request_store as requests

    read = []
    real = requests._read
    monkeypatch.setattr(requests, "_read", lambda path: read.append(path.name) or real(path))
    book, other = RequestStore(site), RequestStore(site)
    assert book.all() == []
    for number in range(3):
        book.put(_request(number))
    assert [request.id for request in book.all()] == ["request-0", "request-1", "request-2"]
    read.clear()
    assert len(book.all()) == 3
    assert read == []
    # Somebody else's change is seen, in a file of the same size as well.
    other.change(_request(1), answer="{}")
    other.change(_request(2), received="2026-01-01T00:00:09.000Z")
    changed = {request.id: request for request in book.all()}
    assert (changed["request-1"].answer, changed["request-2"].received[17:19]) == ("{}", "09")
    assert sorted(read) == ["request-1.json", "request-2.json"]


def test_who_is_alone_reads_once_and_knows_what_is_over(site):
    RequestStore(site).put(_request(1))
    book = RequestStore(site, alone=True)
    [one] = book.current()
    book.put(_request(2, state=RequestState.DONE, answer="{}"))
    book.put(_request(3, state=RequestState.DONE, answer="{}", answered=True))
    assert [request.id for request in book.current()] == ["request-1", "request-2"]
    book.change(one, state=RequestState.REFUSED)
    assert [request.id for request in book.current()] == ["request-2"]
    book.change(book.get("request-3"), answered=False)  # it is asked for once more
    assert [request.id for request in book.current()] == ["request-2", "request-3"]
    assert len(book.all()) == len(RequestStore(site).all()) == 3
    assert RequestStore(site).current() == book.current()


def looks_at(agent, folder, monkeypatch):
    """How often a step opens, lists or asks for what is in a folder."""
    seen = []

    def counted(real):
        def call(path, *args, **named):
            if str(path).startswith(str(folder)):
                seen.append(path)
            return real(path, *args, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("open", "scandir", "listdir", "stat", "lstat"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(io, "open", counted(io.open))
        agent.step()
    return len(seen)


def test_a_step_costs_by_what_is_not_over(approved, cold, monkeypatch):
    agent, folder = approved.agents[-1], approved.site.root / "jobs"
    agent.step()
    assert looks_at(agent, folder, monkeypatch) == 0
    for number in range(2000):
        agent._book.put(
            _request(0, id=f"over-{number}", state=RequestState.DONE, answer="{}", answered=True)
        )
    agent.step()
    assert looks_at(agent, folder, monkeypatch) == 0


def test_a_quiet_site_looks_less_often_until_something_comes(world):
    agent = world.start()
    agent.step()
    assert agent._pause_s() == world.site.settings.poll_s
    agent._last_event -= 60
    assert agent._pause_s() > world.site.settings.poll_s
    world.submit_plan()
    agent.step()
    assert agent._pause_s() == world.site.settings.poll_s
