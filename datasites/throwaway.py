"""A hospital made up for an attack: everything is real but the images and the people.

`ThrowawayHospital` makes a site in a folder, takes images in as `dura site ingest` does, pairs with
a researcher over a folder relay, and serves requests with the installed agent, whose jobs run in
the installed sandbox (or, where there is none, without one: there is nobody's data to protect).
What comes back is what a researcher sees, and nothing else: files as they arrive through PySyft.

Only for phantoms: its owner approves whatever it is asked, and its budget never ends.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasites.errors import SandboxError
from datasites.owner import Terms, approve, take_in
from datasites.plans import ANSWER_FILE, TASK_FILE, Bundle, Task, task_bytes
from datasites.sandbox import UnsafeNoSandbox, require_sandbox
from datasites.site import Site, make_settings
from privacy import Budget

if TYPE_CHECKING:
    from datasites.agent import Agent
    from datasites.syftnet import ResearcherLink

RESEARCHER = "researcher@university.example"
HOSPITAL = "owner@hospital.example"
OWNER = "owner"


class ThrowawayHospital:
    """One such hospital; a context manager that ends its agent.

    Args:
        root: folder that it lives in; exists and is empty.
        train: folder of training images, one folder a class in it.
        test: folder of test images of the same form.
        classes: class names.
        image_size: pixels a side.

    Raises:
        DatasitesError: the images cannot be taken in.
    """

    def __init__(
        self, root: Path, train: Path, test: Path, *, classes: tuple[str, ...], image_size: int
    ) -> None:
        (root / "relay").mkdir()
        settings = make_settings(
            name="A",
            email=HOSPITAL,
            relay=(root / "relay").as_uri(),
            classes=classes,
            image_size=image_size,
            unit="image",
        )
        budget = Budget(epsilon=1e6, delta=1e-5)
        self._site = Site.create(root / "site", settings, budget=budget, actor=OWNER)
        self.card = take_in(self._site, train, test, actor=OWNER).card
        self._root = root
        self._agent: Agent | None = None
        self._link: ResearcherLink | None = None

    def __enter__(self) -> ThrowawayHospital:
        with warnings.catch_warnings():
            # syft 0.10 declares its models in a way that pydantic has deprecated.
            warnings.simplefilter("ignore")
            from datasites.agent import Agent
            from datasites.owner import participant
            from datasites.syftnet import OwnerLink, Participant, ResearcherLink
        link = ResearcherLink(
            Participant(
                email=RESEARCHER,
                relay_url=(self._root / "relay").as_uri(),
                syftbox=self._root / "researcher" / "syftbox",
                own_folder=self._root / "researcher" / "keys",
                is_site=False,
            )
        )
        owner = OwnerLink(participant(self._site), lambda _peer, _code: None)
        link.request(HOSPITAL)
        owner.approve_peer(RESEARCHER, link.fingerprint)
        link.pin(HOSPITAL, owner.fingerprint)
        try:
            require_sandbox()
            unsafe = None
        except SandboxError:
            unsafe = UnsafeNoSandbox()
        self._link, self._agent = link, Agent(Site.open(self._site.root), unsafe=unsafe)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._agent is not None:
            self._agent.close()

    def approve(self, bundle: Bundle) -> None:
        """Send a plan and have it approved, with standing leave for what is noised."""
        agent, link = self._serving()
        link.submit(site=HOSPITAL, job=f"plan-{bundle.sha256[:12]}", files=bundle.files)
        agent.step()
        approve(
            self._site,
            bundle.sha256,
            reviewer=OWNER,
            reason="phantoms",
            terms=Terms(standing_release=True),
        )

    def send(self, task: Task, files: Mapping[str, bytes]) -> None:
        """Ask for a task.

        Args:
            task: what is asked for.
            files: what comes along, such as the weights.
        """
        _, link = self._serving()
        named = {TASK_FILE: task_bytes(task), **files}
        link.submit(site=HOSPITAL, job=task.request, files=named)

    def answered(self, request: str) -> dict[str, bytes] | None:
        """Let the agent look at everything once; what the researcher then has about a request.

        Returns:
            Every file that reached the researcher about it, by name; None before the answer.
        """
        agent, link = self._serving()
        agent.step()
        link.collect()
        files = dict(link.received(HOSPITAL, request))
        return files if ANSWER_FILE in files else None

    def _serving(self) -> tuple[Agent, ResearcherLink]:
        if self._agent is None or self._link is None:
            raise SandboxError("use the hospital as a context manager: its agent is not running")
        return self._agent, self._link


def write_images(
    folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> Path:
    """Images as PNG files, one folder a class.

    Args:
        folder: is made.
        images: uint8 [N, S, S].
        labels: int64 [N], into `classes`.
        classes: class names.

    Returns:
        The folder.
    """
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / classes[int(label)] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(image)).save(path)
    return folder
