"""Requests on disk: what was asked and how far it is; a restart resumes or fails each once.

    queued -> running -> done | failed
    queued -> refused

    jobs/ID.json       the record
    jobs/ID.files/     what was sent with it
    jobs/ID.results/   what its job left, checked; complete once `result.json` is there

A request id is served at most once. What becomes of one that is open when an agent starts is said
in `datasites.agent.recovery`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from datasites.durable import remove_leftovers, write_file
from datasites.errors import Reason
from datasites.plans import NAME
from datasites.site import Site, write_json
from datasites.worker import RESULT_FILE

_ID = re.compile(NAME)


class RequestState(StrEnum):
    """How far a request is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        id: the task's request id. job: the syft job it came as.
        sender: the authenticated researcher. received: UTC time.
        state: see the module's docstring. reason: coded, when failed or refused.
        answer: the answer document once there is one, JSON.
        answered: whether the answer reached the relay.
        countersigned: whether the researcher's signature for its receipt is in the ledger.
        slot_s: seconds of its slot, which began when its job was dispatched.
        due: UTC time of the slot's end as planned: of everything that is stamped.
    """

    id: str
    job: str
    sender: str
    received: str
    state: RequestState = RequestState.QUEUED
    reason: Reason | None = None
    answer: str = ""
    answered: bool = False
    countersigned: bool = False
    slot_s: float = 0.0
    due: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it has not come to an end."""
        return self.state in (RequestState.QUEUED, RequestState.RUNNING)


class RequestStore:
    """All requests of one site.

    Args:
        site: the site.
        alone: nobody else writes records while this is used, as of whoever holds the site's agent
            lock: they are read once, and a step costs by the requests that are not over.
    """

    def __init__(self, site: Site, *, alone: bool = False) -> None:
        self._folder = site.root / "jobs"
        self._read: dict[str, tuple[tuple[int, ...], Request]] = {}
        self._alone = alone
        self._all: dict[str, Request] | None = None
        self._current: dict[str, Request] = {}

    def inputs(self, request_id: str) -> Path:
        """Where the request's files lie."""
        return self._folder / f"{request_id}.files"

    def keep_results(self, request_id: str, files: Mapping[str, bytes]) -> None:
        """Keep what an ended job left; `result.json`, written last, makes it complete."""
        folder = self._folder / f"{request_id}.results"
        for name in sorted(files, key=lambda name: name == RESULT_FILE):
            write_file(folder / name, files[name])

    def results(self, request_id: str) -> dict[str, bytes] | None:
        """What an ended job left, None unless all of it was kept."""
        folder = self._folder / f"{request_id}.results"
        if not (folder / RESULT_FILE).exists():
            return None
        return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}

    def discard_files(self, request: Request) -> None:
        """Drop the inputs and results of a request that has ended; its record stays."""
        for kind in ("files", "results"):
            shutil.rmtree(self._folder / f"{request.id}.{kind}", ignore_errors=True)

    def receipts(self) -> list[str]:
        """The signed receipt of every answer that holds one."""
        answers = [json.loads(request.answer) for request in self.all() if request.answer]
        return [answer["receipt"] for answer in answers if answer.get("receipt")]

    def clean(self) -> None:
        """Remove what an agent that was killed left half-written, or did not come to remove."""
        remove_leftovers(self._folder)
        for request in self.all():
            if request.answered:
                self.discard_files(request)

    def has(self, request_id: str) -> bool:
        """Whether the id was seen before; what can be no id, such as a path, never was."""
        return (
            _ID.fullmatch(request_id) is not None and (self._folder / f"{request_id}.json").exists()
        )

    def get(self, request_id: str) -> Request:
        """The request with this id."""
        return _read(self._folder / f"{request_id}.json")

    def put(self, request: Request) -> None:
        """Write a request's record."""
        write_json(self._folder / f"{request.id}.json", asdict(request))
        if self._all is not None:
            self._all[request.id] = request
            self._note(request)

    def change(self, request: Request, **fields: object) -> Request:
        """Write and return the request with other fields."""
        changed = replace(request, **fields)  # type: ignore[arg-type]
        self.put(changed)
        return changed

    def all(self) -> list[Request]:
        """Every request, oldest first."""
        return sorted(self._known().values(), key=_age)

    def current(self) -> list[Request]:
        """Those that are not over, oldest first: open, or with an answer that has not left.

        An idle agent looks several times a second, and records are never removed.
        """
        known = self._known()
        found = self._current if self._alone else known
        return sorted(filter(_is_current, found.values()), key=_age)

    def _known(self) -> dict[str, Request]:
        if self._all is not None:
            return self._all
        known = self._scan()
        if self._alone:
            self._all = known
            for request in known.values():
                self._note(request)
        return known

    def _note(self, request: Request) -> None:
        if _is_current(request):
            self._current[request.id] = request
        else:
            self._current.pop(request.id, None)

    def _scan(self) -> dict[str, Request]:
        """All records; one is read again when its file is another one."""
        found: dict[str, tuple[tuple[int, ...], Request]] = {}
        for entry in _records(self._folder):
            about = entry.stat()
            mark = (about.st_ino, about.st_mtime_ns, about.st_size)
            known = self._read.get(entry.name)
            if known is None or known[0] != mark:
                known = (mark, _read(Path(entry.path)))
            found[entry.name] = known
        self._read = found
        return {request.id: request for _, request in found.values()}


def in_turn(requests: Iterable[Request], *, served: Mapping[str, int]) -> list[Request]:
    """Queued requests in the order in which they are started: researchers take turns. Pure.

    Args:
        requests: all of them, oldest first.
        served: researcher to the number of the start that was last theirs.

    Returns:
        Of each researcher the oldest first, and first of the one whose last turn is longest ago.
    """
    queued = [one for one in requests if one.state is RequestState.QUEUED]
    return sorted(queued, key=lambda one: served.get(one.sender, 0))


def _is_current(request: Request) -> bool:
    return request.is_open or (bool(request.answer) and not request.answered)


def _age(request: Request) -> tuple[str, str]:
    return request.received, request.id


def _records(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [
                entry
                for entry in entries
                if entry.name.endswith(".json") and not entry.name.startswith(".")
            ]
    except FileNotFoundError:
        return []


def _read(path: Path) -> Request:
    fields = json.loads(path.read_text())
    fields["state"] = RequestState(fields["state"])
    fields["reason"] = Reason(fields["reason"]) if fields["reason"] else None
    return Request(**fields)
