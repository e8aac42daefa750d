"""Requests on disk: what was asked and how far it is; a restart resumes or fails each once.

    queued -> running -> done | failed
    queued -> refused

A request id is served at most once. A request found `running` when an agent starts was
interrupted: its sandbox died with the old agent, its reservation stays spent, and it fails.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from datasites.errors import Reason
from datasites.site import Site, write_json


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
    """

    id: str
    job: str
    sender: str
    received: str
    state: RequestState = RequestState.QUEUED
    reason: Reason | None = None
    answer: str = ""
    answered: bool = False


class RequestBook:
    """All requests of one site."""

    def __init__(self, site: Site) -> None:
        self._folder = site.root / "jobs"

    def inputs(self, request_id: str) -> Path:
        """Where the request's files lie."""
        return self._folder / f"{request_id}.files"

    def has(self, request_id: str) -> bool:
        """Whether the id was seen before."""
        return (self._folder / f"{request_id}.json").exists()

    def get(self, request_id: str) -> Request:
        """The request with this id."""
        return _read(self._folder / f"{request_id}.json")

    def put(self, request: Request) -> None:
        """Write a request's record."""
        write_json(self._folder / f"{request.id}.json", asdict(request))

    def change(self, request: Request, **fields: object) -> Request:
        """Write and return the request with other fields."""
        changed = replace(request, **fields)  # type: ignore[arg-type]
        self.put(changed)
        return changed

    def all(self) -> list[Request]:
        """Every request, oldest first."""
        found = [_read(path) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda request: (request.received, request.id))


def _read(path: Path) -> Request:
    fields = json.loads(path.read_text())
    fields["state"] = RequestState(fields["state"])
    fields["reason"] = Reason(fields["reason"]) if fields["reason"] else None
    return Request(**fields)
