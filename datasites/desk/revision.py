"""An owner's edit of a report: verified again, counted, and kept as a difference. Pure."""

from __future__ import annotations

import difflib

from datasites.desk.assessment import problems_of
from datasites.desk.held_report import HeldReport
from datasites.errors import EditRefusedError


def edited(report: HeldReport, text: str) -> HeldReport:
    """The report with other words.

    Raises:
        EditRefusedError: nothing changed, blocks stand in the old words, or the facts do not
            bear the new words out.
    """
    if report.redactions:
        raise EditRefusedError(
            "this report is redacted; take the blocks away first "
            "(`dura site releases redact --clear`), edit, and redact again"
        )
    text = text.replace("\r\n", "\n").rstrip() + "\n"
    if text == report.text:
        raise EditRefusedError("the edited text is the one that is there already")
    after = report.model_copy(update={"text": text, "edits": report.edits + 1})
    if problems := problems_of(after):
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise EditRefusedError(
            f"the edit says {len(problems)} thing(s) that the facts do not bear out: "
            f"{'; '.join(problems[:5])}{more}; nothing was changed"
        )
    return after


def text_difference(before: str, after: str, *, number: int) -> str:
    """A unified diff of one edit; it stays at the hospital."""
    lines = difflib.unified_diff(
        before.splitlines(),
        after.splitlines(),
        fromfile=f"before edit {number}",
        tofile=f"after edit {number}",
        lineterm="",
    )
    return "\n".join(lines) + "\n"
