"""Reports asked for outside a run, and the researcher's inbox of reports.

A request is one more report task under the approved plan, so it costs each hospital what the plan's
own report task costs, and a hospital whose budget does not allow it refuses. Ids are kept in
`STUDY/asked_reports.json` before anything is sent. What owners released lies in
`STUDY/reports/HOSPITAL/`; of a cohort report, which always exists, the researcher learns the
decision and its code. Of cases they learn nothing but those that were released: not how many were
drafted, nor whether one was withheld.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasites import (
    WEIGHTS_FILE,
    Bundle,
    MailboxError,
    PlanError,
    ReleasedReport,
    ReportTask,
    Status,
    render_released,
    write_file,
)
from orchestrator.errors import StudyError, VerificationError
from orchestrator.hospitals import HospitalClient
from orchestrator.rounds import Told
from privacy import sha256_hex

ASKED_FILE = "asked_reports.json"
POLL_S = 0.2
log = logging.getLogger("dura.reports")


@dataclass(frozen=True)
class InboxRow:
    """One report, or one request that came to none, as the researcher sees it.

    Attributes:
        hospital: whose it is.
        request: the request it answers.
        item: its id; empty where only the request is known.
        kind: case, hospital or global; empty likewise.
        state: waiting, refused, held, released or withheld.
        code: the coded reason of a no.
        report: the report, when it was released.
    """

    hospital: str
    request: str
    item: str
    kind: str
    state: str
    code: str = ""
    report: ReleasedReport | None = None


class ReportRequests:
    """The reports a study asked for outside its runs."""

    def __init__(self, folder: Path, researcher: HospitalClient, bundle: Bundle) -> None:
        self._path = folder / ASKED_FILE
        self._researcher = researcher
        self._bundle = bundle

    def all(self) -> list[tuple[str, str]]:
        """Hospital and request id of every request under this plan, oldest first."""
        return [(site, request) for site, request, plan in self._read() if plan == self._plan]

    def ask(
        self, weights: bytes, *, sites: Sequence[str], rounds: int, told: Told
    ) -> list[tuple[str, str]]:
        """Send one report task to each hospital; returns hospital and request id of those asked.

        A hospital whose own folder cannot be written to is said not to be asked, and stops nobody.

        Args:
            weights: to report on.
            sites: whom to ask.
            rounds: that the weights were trained for.
            told: what the run that made the weights has to tell.

        Raises:
            StudyError: the plan has no reports, or no hospital to ask.
            MailboxError: none could be asked.
        """
        if self._bundle.plan.reports is None:
            raise StudyError("the plan has no [reports]; add them to study.toml and submit it anew")
        if not sites:
            raise StudyError("no hospital has approved the plan, so there is nobody to ask")
        asked = [(site, self._new_id()) for site in sites]
        # Before anything is sent: a request that nobody remembers cannot be answered.
        self._write([*self._read(), *((site, request, self._plan) for site, request in asked)])
        unasked: dict[tuple[str, str], MailboxError] = {}
        for site, request in asked:
            task = ReportTask(
                request=request,
                plan_sha256=self._plan,
                weights_sha256=sha256_hex(weights),
                rounds=rounds,
                hospitals=told.took_part or len(sites),
                trend=told.trend,
                share=told.share(site),
            )
            try:
                self._researcher.ask(site, task, {WEIGHTS_FILE: weights})
            except MailboxError as error:
                log.warning("%s was not asked: %s", site, error)
                unasked[site, request] = error
        if unasked:
            self._write([row for row in self._read() if row[:2] not in unasked])
        if len(unasked) == len(asked):
            raise unasked[asked[0]]
        return [pair for pair in asked if pair not in unasked]

    def wait(self, asked: Sequence[tuple[str, str]], *, wait_s: float) -> None:
        """Wait until every request was answered, or the time is over."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            self._researcher.collect()
            if all(self._researcher.answered(site, request) for site, request in asked):
                return
            time.sleep(POLL_S)

    @property
    def _plan(self) -> str:
        return self._bundle.sha256

    def _new_id(self) -> str:
        return f"{self._bundle.plan.study}-{secrets.token_hex(4)}-reports"

    def _read(self) -> list[tuple[str, str, str]]:
        if not self._path.exists():
            return []
        try:
            rows = json.loads(self._path.read_text())
            return [(str(site), str(request), str(plan)) for site, request, plan in rows]
        except (ValueError, TypeError) as error:
            raise StudyError(f"{self._path} is damaged: {error}; mend or remove it") from error

    def _write(self, rows: list[tuple[str, str, str]]) -> None:
        write_file(self._path, (json.dumps(rows, indent=1) + "\n").encode())


def inbox(
    researcher: HospitalClient, requests: Sequence[tuple[str, str]], *, bundle: Bundle
) -> list[InboxRow]:
    """Everything that is known here of the reports of some requests."""
    return [row for site, request in requests for row in _rows(researcher, site, request, bundle)]


def save(rows: Sequence[InboxRow], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write released reports below `folder`, one folder a hospital; returns the files.

    A case report is about one patient: the files are for this account only, as their folders are.
    """
    written = []
    for row in rows:
        if row.report is None:
            continue
        home = folder / row.hospital
        for kind in ("text", "json", *formats):
            suffix, data = render_released(row.report, kind)
            path = home / f"{row.item}.{suffix}"
            write_file(path, data)
            written.append(path)
    return written


def _rows(
    researcher: HospitalClient, site: str, request: str, bundle: Bundle
) -> Iterator[InboxRow]:
    try:
        reply = researcher.reply(site, request, bundle=bundle)
        released = researcher.reports(site, request, bundle=bundle)
        notices = researcher.withheld_notices(site, request)
    except (VerificationError, PlanError) as error:
        yield InboxRow(site, request, "", "", "refused", f"not believed: {error}")
        return
    if reply is None:
        yield InboxRow(site, request, "", "", "waiting")
        return
    if reply.answer.status in (Status.REFUSED, Status.FAILED):
        yield InboxRow(site, request, "", "", "refused", str(reply.answer.reason))
        return
    for report in released:
        yield InboxRow(site, request, report.item, report.kind, "released", report=report)
    for notice in notices:
        yield InboxRow(site, request, notice.item, notice.kind, "withheld", notice.reason.value)
    decided = {report.kind for report in released} | {notice.kind for notice in notices}
    for kind in sorted(always_there(bundle, asked=False) - decided):
        yield InboxRow(site, request, "", kind, "held")


def always_there(bundle: Bundle, *, asked: bool) -> set[str]:
    """The kinds of report of which a hospital has one whatever its cases are.

    Args:
        bundle: the plan.
        asked: whether the researcher's scores went along, for the report on the global model.
    """
    part = bundle.plan.reports
    if part is None:
        return set()
    return {"hospital", "global"} if asked and part.write_global else {"hospital"}
