"""Writing a report of the desk to a file on this machine. Nothing leaves by it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from datasites.desk import Desk, Item, ItemState, sign_released
from datasites.durable import write_file
from datasites.errors import FormatError
from datasites.reportfile import page_of_held, render
from datasites.reportfile.format import Format
from datasites.site import Site


def export_report(
    site: Site, item_id: str, out: Path, *, kind: Format, header: Path | None = None
) -> Item:
    """Write a report in a format; returns the item it is.

    Args:
        site: the site.
        item_id: the report on its desk.
        out: the file; it must not be there yet.
        kind: the format.
        header: for DICOM, a file of the study whose patient the report is filed under.

    Raises:
        DeskError: no such report. FormatError: not in this format, or `out` is there.
    """
    if header is not None and kind is not Format.DICOM:
        raise FormatError("--header is for --format dicom: other formats name no patient")
    if out.exists():
        raise FormatError(f"{out} is there already; choose another file")
    desk = Desk(site)
    item = desk.get(item_id)
    report = desk.report(item)
    hospital = site.settings.name
    page = page_of_held(report, item, hospital=hospital)
    # The time of the report, not of this call: the same report gives the same file.
    moment = datetime.fromisoformat(item.decided or item.held)
    document = report.model_dump_json(indent=1)
    if item.state is ItemState.RELEASED:
        signed = sign_released(item, report, hospital=hospital, key=site.key)
        document = signed.model_dump_json(indent=1)
    if kind is not Format.DICOM:
        write_file(out, render(page, kind, time=moment, document=document))
        return item
    from datasites.reportfile.dicom import encapsulated_pdf, header_from, pseudonymous_header

    patient = header_from(header) if header else pseudonymous_header(page, hospital=hospital)
    pdf = render(page, Format.PDF, time=moment, document="")
    write_file(out, encapsulated_pdf(page, pdf, item=item.id, header=patient, time=moment))
    return item
