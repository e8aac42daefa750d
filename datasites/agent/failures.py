"""How a request ends badly: one entry in the ledger, then its record with a coded answer.

The entry comes first. An agent that dies, or whose disk is full, between the two has logged an
ending that the record does not know; `recorded` finds such entries, so that `close` can let the
record follow and nothing is logged twice. Of a researcher's refusals beyond the `EACH_RUN`th for
one reason only some have an entry; one without is simply refused again after a crash.
"""

from __future__ import annotations

import logging

from datasites.agent.refusals import EACH_RUN, RefusalLog
from datasites.agent.request_store import Request, RequestState, RequestStore
from datasites.errors import Reason
from datasites.plans import Answer, Status
from datasites.site import Site
from privacy import EntryKind

log = logging.getLogger("dura.agent")

_RUN = "run"
_STATES = {
    EntryKind.RUN_REFUSED: (RequestState.REFUSED, Status.REFUSED),
    EntryKind.JOB_FAILED: (RequestState.FAILED, Status.FAILED),
}


class Failures:
    """Refuses and fails the requests of one site."""

    def __init__(self, site: Site, book: RequestStore, refusals: RefusalLog) -> None:
        self._site = site
        self._refusals = refusals
        self._book = book

    def refuse(self, request: Request, code: Reason, message: str) -> None:
        """End a request that never ran."""
        log.warning("refused %s: %s (%s)", request.id, code.value, message)
        self._refusals.record(
            peer=request.sender, action=_RUN, resource=request.id, code=code.value, each=EACH_RUN
        )
        self.close(request, EntryKind.RUN_REFUSED, code)

    def fail(self, request: Request, code: Reason, message: str) -> None:
        """End a request whose job came to no good end; what was reserved stays spent."""
        log.error("failed %s: %s (%s)", request.id, code.value, message)
        self._site.log(
            EntryKind.JOB_FAILED,
            actor="agent",
            action=_RUN,
            resource=request.id,
            reason=code.value,
        )
        self.close(request, EntryKind.JOB_FAILED, code)

    def recorded(self, requests: set[str]) -> dict[str, tuple[EntryKind, Reason]]:
        """Endings that the ledger holds for these request ids; reads all of the ledger."""
        entries = (sealed.entry for sealed in self._site.ledger.entries()) if requests else ()
        return {
            entry.resource: (entry.kind, Reason(entry.reason))
            for entry in entries
            if entry.resource in requests and entry.kind in _STATES and entry.action == _RUN
        }

    def close(self, request: Request, kind: EntryKind, code: Reason) -> None:
        """Let the record of a request follow the ending that the ledger holds."""
        state, status = _STATES[kind]
        answer = Answer(request=request.id, status=status, reason=code)
        self._book.change(request, state=state, reason=code, answer=answer.model_dump_json())
