"""Whose powers a job has: an unprivileged user's, also where the agent is root.

An ordinary user's job has that user's id, in a user namespace of its own. Root's job has an id that
belongs to no account (`job_id`): the sandbox is built in a fresh user namespace that knows root and
this id alone, and what runs in it is switched to the id, without capabilities, before the job. What
the kernel lets root's id do without a capability (writing /proc/sys is one) is then closed too.

That user must read what the job is given. `lend` hands it files and folders that only root could
read, by making it their owner: a site's folder is root's alone (mode 700), so nobody else reaches
them. Whatever is another account's, or has a second name elsewhere, is not touched but refused.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from datasites.errors import SandboxError

FIRST_ID, LAST_ID = 65_432, 65_499
"""Ids for root's jobs: below 65,536, which containers map, and beyond those of accounts."""
_UNSHARE: Final = ["/usr/bin/unshare", "--user", "--", "/bin/cat"]
_MEND: Final = (
    "jobs of a site that root serves are switched to an unprivileged user and cannot be here. Run "
    "the agent as an ordinary user of its own: useradd --system dura; "
    "chown -R dura SITE; or give its container the capabilities SETUID, SETGID and CHOWN"
)


def unused_id(taken: Collection[int]) -> int:
    """The first id for jobs that is no account's.

    Raises:
        SandboxError: all are taken.
    """
    free = [number for number in range(FIRST_ID, LAST_ID + 1) if number not in taken]
    if not free:
        raise SandboxError(f"the ids {FIRST_ID} to {LAST_ID} all belong to accounts; {_MEND}")
    return free[0]


@cache
def job_id() -> int | None:
    """The id of this agent's jobs where it is root; None where jobs keep the agent's own."""
    if os.geteuid() != 0:
        return None
    return unused_id({entry.pw_uid for entry in pwd.getpwall()})


@dataclass(frozen=True)
class JobUser:
    """Root's jobs: the id that they get, and the user namespace for one of them.

    Attributes:
        number: the id.
        namespace_fd: a user namespace that knows root and this id alone, as an open file.
    """

    number: int
    namespace_fd: int

    @property
    def switch(self) -> list[str]:
        """What turns root into this user, without groups and capabilities, and then runs on."""
        user = [f"--reuid={self.number}", f"--regid={self.number}", "--clear-groups"]
        powers = ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
        return ["/usr/bin/setpriv", *user, *powers, "--"]


@contextmanager
def job_user() -> Iterator[JobUser | None]:
    """The user of one job of root's; None where jobs keep the agent's own id.

    Raises:
        SandboxError: root may not have one here; says how to mend it.
    """
    number = job_id()
    if number is None:
        yield None
        return
    try:
        descriptor = _new_namespace(f"0 0 1\n{number} {number} 1\n")
    except OSError as error:
        raise SandboxError(f"no user namespace for jobs ({error}): {_MEND}") from error
    try:
        yield JobUser(number, descriptor)
    finally:
        os.close(descriptor)


def _new_namespace(mapped: str) -> int:
    holder = subprocess.Popen(
        _UNSHARE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        bufsize=0,
    )
    with holder:
        given, answers = holder.stdin, holder.stdout
        if given is None or answers is None or not given.write(b"?") or not answers.read(1):
            raise PermissionError("unshare --user is refused")  # it answers from inside
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text(mapped)
        return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def lend(path: Path) -> None:
    """Let the user of jobs read a folder or a file and all below; nothing to do for others.

    Raises:
        SandboxError: something is in the way; says what and how to mend it.
    """
    number = job_id()
    if number is None:
        return
    _lend(path, number)
    if not path.is_dir():
        return
    for folder, names, files in os.walk(path, onerror=_unreadable):
        for name in (*names, *files):
            _lend(Path(folder, name), number)


def _lend(path: Path, number: int) -> None:
    state = path.lstat()
    folder = stat.S_ISDIR(state.st_mode)
    if stat.S_ISLNK(state.st_mode) or state.st_uid == number:
        return
    wanted = 0o005 if folder else 0o004
    if state.st_mode & wanted == wanted:
        return
    if state.st_uid != 0 or (state.st_nlink != 1 and not folder):
        raise SandboxError(
            f"jobs cannot read {path}, which is another account's or has a second name; "
            f"chown -R root {path.parent}, or chmod -R o+rX it, or remove the other name"
        )
    try:
        os.chown(path, number, -1, follow_symlinks=False)
    except OSError as error:
        raise SandboxError(f"{path} cannot be given to jobs ({error.strerror}): {_MEND}") from error


def _unreadable(error: OSError) -> None:
    raise SandboxError(f"jobs cannot be given {error.filename}: {error.strerror}") from error
