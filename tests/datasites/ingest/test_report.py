from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from datasites.ingest.errors import RefusalReason
from datasites.ingest.report import ClassCount, Duplicate, IngestReport, UnitSize, shown
from datasites.ingest.scan import Refusal


def _report(**changes: Any) -> IngestReport:
    parts: dict[str, Any] = {
        "version": "f" * 64,
        "image_size": 64,
        "unit_kind": "near-duplicate group",
        "accepted": (ClassCount("a", 1200), ClassCount("b", 0)),
        "unit_sizes": (UnitSize(1, 1000), UnitSize(4, 50)),
        "mixed_units": 0,
        "duplicates": (),
        "refused": (),
        "warnings": (),
    }
    return IngestReport(**(parts | changes))


def test_totals() -> None:
    assert (_report().images, _report().units) == (1200, 1050)


def test_text_says_only_what_happened() -> None:
    text = _report().to_text()
    assert "accepted 1,200 images of 64 x 64 pixels" in text
    assert "1,050 privacy units (near-duplicate group), the largest of 4" in text
    assert "dropped" not in text
    assert "left out" not in text
    assert "warning" not in text


def test_text_groups_refusals_and_cuts_long_lists() -> None:
    refused = [Refusal(Path(f"a/{i:02}.jpg"), RefusalReason.DAMAGED, "bad") for i in range(13)]
    refused.insert(3, Refusal(Path("a/.x"), RefusalReason.HIDDEN, "hidden, so skipped"))
    text = _report(
        refused=tuple(refused),
        mixed_units=2,
        duplicates=(Duplicate(Path("a/2.jpg"), Path("a/1.jpg")),),
        warnings=("the class 'b' has no usable image",),
    ).to_text()
    lines = text.splitlines()
    assert lines.index("left out 1: hidden") < lines.index("left out 13: damaged")
    assert "  a/09.jpg: bad" in lines
    assert "  a/10.jpg: bad" not in lines
    assert "  and 3 more, all named in the JSON report" in lines
    assert "warning: the class 'b' has no usable image" in lines
    assert "  2 of them hold more than one class; check the labels" in lines
    assert "dropped 1 images with the pixels of another" in lines


def test_json_is_complete() -> None:
    refused = tuple(
        Refusal(Path(f"ü/{i}.jpg"), RefusalReason.BLANK, "shows nothing") for i in range(40)
    )
    data = json.loads(
        _report(refused=refused, duplicates=(Duplicate(Path("b"), Path("a")),)).to_json()
    )
    assert data["format"] == "dura-ingest-report/1"
    assert data["accepted"] == {"a": 1200, "b": 0}
    assert (data["images"], data["units"], data["unit_sizes"]) == (1200, 1050, [[1, 1000], [4, 50]])
    assert [each["path"] for each in data["refused"]] == [f"ü/{i}.jpg" for i in range(40)]
    assert data["refused"][0]["reason"] == "blank"
    assert data["duplicates"] == [{"path": "b", "same_as": "a"}]


def test_file_names_cannot_break_the_report() -> None:
    evil = Path(os.fsdecode(b"a\n\x1b[2Jwarning: \xff.jpg"))
    assert shown(evil) == "a\\n\\x1b[2Jwarning: \\udcff.jpg"
    report = _report(refused=(Refusal(evil, RefusalReason.BLANK, "shows nothing"),))
    report.to_text().encode("utf-8")
    report.to_json().encode("utf-8")
    assert "\x1b" not in report.to_text()
    assert shown(Path("Größe π/図.jpg")) == "Größe π/図.jpg"
