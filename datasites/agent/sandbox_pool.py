"""Sandboxes started ahead: which one will be needed next, and keeping one such ready.

Importing the libraries costs seconds of processor time; a sandbox that has done so before its job
comes hides them. Each is used for one job and then gone. No job is handed to one that is still
warming up: a job's slot counts from then on, and is for work alone.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from datasites.errors import SandboxError
from datasites.plans import Plan
from datasites.sandbox import (
    JobFolder,
    Limits,
    SandboxProcess,
    UnsafeNoSandbox,
    find_gpu,
    require_sandbox,
)
from datasites.site import TEST, TRAIN, Site, clear, discard
from datasites.worker import CHECKPOINT, ENCODER, Profile, features_folder
from models import ModelsError, encoder_sha256, find_checkpoint, find_model


def next_profile(
    plan: Plan, *, rounds_started: int, has_generator: bool, has_pool: bool = False
) -> Profile | None:
    """The sandbox that the plan's next task will need, None when it has none left.

    Images of others may never come (nobody released a generator): no longer than until the first
    round are they waited for.
    """
    if plan.generator is not None and not has_generator:
        return Profile.GENERATE
    if plan.pools and not has_pool and rounds_started == 0:
        return Profile.POOL
    if rounds_started < plan.rounds:
        return Profile.TRAIN
    return Profile.REPORT if plan.reports is not None else None


@dataclass(frozen=True)
class _Waiting:
    """A started sandbox, the version of the shard that was there when it was, and since when."""

    sandbox: SandboxProcess
    dataset_version: str
    since: float = field(default_factory=time.monotonic)


class SandboxPool:
    """Keeps at most one waiting sandbox for each plan and profile, of the present shard.

    One that was started before other images were taken in shows the former ones, or nothing.

    Raises:
        SandboxError: from `take`, when no sandbox is to be had on this machine.
    """

    _awaited: tuple[str, Profile] | None = None
    """What a request waits for."""

    def __init__(self, site: Site, unsafe: UnsafeNoSandbox | None = None) -> None:
        self._site = site
        self._unsafe = unsafe
        self._scratch = site.root / "scratch"
        self._waiting: dict[tuple[str, Profile], _Waiting] = {}
        # Whatever lies here was left by an agent that was killed.
        clear(site, self._scratch)

    def keep(self, plan_sha256: str, profile: Profile | None) -> None:
        """Have a sandbox of `profile` waiting for the plan, and none of another profile."""
        for key in [key for key in self._waiting if key[0] == plan_sha256]:
            if key == self._awaited:
                continue
            if key[1] is not profile or not self._of_use(self._waiting[key]):
                self._drop(key)
        if profile is not None and (plan_sha256, profile) not in self._waiting:
            self._begin(plan_sha256, profile)

    def take(self, plan_sha256: str, profile: Profile) -> SandboxProcess | None:
        """A sandbox that is ready for a job; None while it still warms up, then ask again.

        Raises:
            SandboxError: it ended, or was not ready in the time that a job may take.
        """
        key = (plan_sha256, profile)
        waiting = self._waiting.get(key)
        if waiting is not None and not self._of_use(waiting):
            self._must_not_end(key, waiting)
            self._drop(key)
            waiting = None
        self._awaited = key
        if waiting is None:
            self._begin(plan_sha256, profile)
            return None
        if not waiting.sandbox.ready:
            self._must_not_last(key, waiting)
            return None
        del self._waiting[key]
        self._awaited = None
        return waiting.sandbox

    def await_none(self) -> None:
        """No request waits for a sandbox."""
        self._awaited = None

    def end(self) -> None:
        """End all that wait."""
        for key in list(self._waiting):
            self._drop(key)

    def _must_not_end(self, key: tuple[str, Profile], waiting: _Waiting) -> None:
        """One that ended while a request waited for it would end again."""
        if key == self._awaited and not waiting.sandbox.alive:
            said = waiting.sandbox.folder.log.read_bytes()[-500:].decode(errors="replace")
            self._drop(key)
            raise SandboxError(f"the sandbox ended before its job came; it printed: {said}")

    def _must_not_last(self, key: tuple[str, Profile], waiting: _Waiting) -> None:
        limit_s = self._site.settings.job_timeout_s
        if time.monotonic() - waiting.since > limit_s:
            self._drop(key)
            raise SandboxError(f"the sandbox was not ready in {limit_s} s (job_timeout_s)")

    def _begin(self, plan_sha256: str, profile: Profile) -> None:
        version = self._version()
        started = self._start(plan_sha256, profile)
        self._waiting[plan_sha256, profile] = _Waiting(started, version)

    def _start(self, plan_sha256: str, profile: Profile) -> SandboxProcess:
        settings = self._site.settings
        return SandboxProcess(
            profile,
            folder=JobFolder(self._scratch / secrets.token_hex(8)),
            data=self._mounts(plan_sha256, profile),
            installation=self._unsafe or require_sandbox(),
            limits=Limits(
                wall_s=settings.job_timeout_s,
                cpu_s=settings.job_timeout_s * settings.threads,
                memory_bytes=settings.job_memory_gib * 1024**3,
                threads=settings.threads,
            ),
            gpu=find_gpu(settings.report_device) if profile is Profile.REPORT else None,
        )

    def _mounts(self, plan_sha256: str, profile: Profile) -> dict[str, Path]:
        if profile is Profile.REPORT:
            mounts = {TEST: self._site.shard(TEST)}
            if self._site.settings.report_model:
                # From the Hub it is fetched here, outside: a sandbox has no network.
                mounts["llama"] = find_model(self._site.settings.report_model).folder
        elif profile in (Profile.POOL, Profile.LOOK):
            mounts = {}  # what others released, or a model alone: nothing of this site's is shown
        else:
            mounts = {TRAIN: self._site.shard(TRAIN)}
        if profile in (Profile.GENERATE, Profile.POOL) and self._site.settings.generator_checkpoint:
            mounts[CHECKPOINT] = _checkpoint(self._site.settings.generator_checkpoint)
        if profile in (Profile.TRAIN, Profile.REPORT) and self._site.settings.encoder:
            mounts[ENCODER] = _encoder(self._site.settings.encoder)
        if profile is Profile.TRAIN:
            synthetic = self._site.synthetic(plan_sha256)
            synthetic.mkdir(parents=True, exist_ok=True, mode=0o700)
            mounts["synthetic"] = synthetic
            mounts["features"] = features_folder(self._site)
        missing = [str(path) for path in mounts.values() if not path.is_dir()]
        if missing:
            raise SandboxError(f"the job needs {missing}, which is not there; ingest it first")
        return mounts

    def _of_use(self, waiting: _Waiting) -> bool:
        return waiting.sandbox.alive and waiting.dataset_version == self._version()

    def _version(self) -> str:
        return self._site.card().dataset_version

    def _drop(self, key: tuple[str, Profile]) -> None:
        discard(self._site, self._waiting.pop(key).sandbox)


def _encoder(source: str) -> Path:
    """The folder of the site's encoder; whether it is the plan's, is asked when a task comes."""
    try:
        encoder_sha256(Path(source))
    except ModelsError as error:
        raise SandboxError(f"the site's encoder: {error}") from error
    return Path(source)


def _checkpoint(source: str) -> Path:
    """The folder of the site's checkpoint; from the Hub it is fetched here, outside."""
    try:
        return find_checkpoint(source)
    except ModelsError as error:
        raise SandboxError(f"the site's generator_checkpoint: {error}") from error
