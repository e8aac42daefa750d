"""A study before and beside its rounds: pairing, drafting, submitting, where hospitals stand.

Nothing here needs the training libraries, so these commands answer at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from datasites import Bundle, make_bundle, open_bundle, write_file
from orchestrator.errors import StudyError
from orchestrator.hospitals.replies import Heard, HospitalClient
from orchestrator.study import Study, look_at_encoder, read_study, study_plan

LAST_RUN = "last_run.json"
MODEL_FILE = "model.py"
SUBMITTED = "submitted"


@dataclass(frozen=True)
class Standing:
    """Where one hospital stands.

    Attributes:
        hospital: its e-mail. paired: whether its key is pinned.
        heard: what it said of the submitted plan; None before one was.
        refusals: why the last run went on without it, as codes.
    """

    hospital: str
    paired: bool
    heard: Heard | None
    refusals: tuple[str, ...] = ()


class Submissions:
    """The office of the study in `folder`.

    Raises:
        StudyError: the study's file is missing or wrong.
        RelayError: the relay is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study: Study = read_study(folder)
        self.researcher = HospitalClient(folder, self.study)

    def draft(self) -> Bundle:
        """The bundle that the study's files give now."""
        return draft_bundle(self.folder, self.study)

    def submit(self) -> Bundle:
        """Keep the bundle as submitted and send it to every hospital.

        Raises:
            StudyError: the study's parts do not fit together, or what it names is not there.
        """
        bundle = self.draft()
        look_at_encoder(bundle.plan, self.study.model)
        for name, data in bundle.files.items():
            write_file(self.folder / SUBMITTED / name, data)
        stale = {path.name for path in (self.folder / SUBMITTED).iterdir()} - set(bundle.files)
        for name in stale:
            (self.folder / SUBMITTED / name).unlink()
        self.researcher.submit_plan(bundle)
        return bundle

    def submitted(self) -> Bundle:
        """The bundle that was submitted last.

        Raises:
            StudyError: none was.
        """
        folder = self.folder / SUBMITTED
        if not folder.is_dir():
            raise StudyError(f"nothing was submitted yet; run `dura study submit {self.folder}`")
        return open_bundle({path.name: path.read_bytes() for path in folder.iterdir()})

    def standings(self) -> list[Standing]:
        """Where every hospital stands, after a look at the relay."""
        self.researcher.collect()
        pinned = self.researcher.link.pinned()
        refused = last_refusals(self.folder)
        bundle = self.submitted() if (self.folder / SUBMITTED).is_dir() else None
        return [
            Standing(
                site,
                site in pinned,
                self.researcher.heard(site, bundle) if bundle is not None else None,
                refused.get(site, ()),
            )
            for site in self.study.hospitals
        ]


def draft_bundle(folder: Path, study: Study) -> Bundle:
    """The bundle of a study's files.

    Raises:
        StudyError: the study names `model.py` and there is none.
    """
    text = None
    if study.model.name == MODEL_FILE:
        path = folder / MODEL_FILE
        if not path.exists():
            raise StudyError(f"the study's model is {MODEL_FILE}, but {path} is not there")
        text = path.read_text()
    return make_bundle(study_plan(study), text)


def last_refusals(folder: Path) -> dict[str, tuple[str, ...]]:
    """Why the study's last run went on without hospitals; empty where there is no such run."""
    try:  # not by `RunState`, which takes PyTorch along
        out = Path(json.loads((folder / LAST_RUN).read_bytes())["out"])
        found = json.loads((out / "state.json").read_bytes())["refusals"]
        return {str(site): tuple(str(code) for code in codes) for site, codes in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
