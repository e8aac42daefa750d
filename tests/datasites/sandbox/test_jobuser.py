"""Root's jobs are nobody's: which id they get, and what they may then read."""

import os
import stat

import pytest

from datasites.errors import SandboxError
from datasites.sandbox.jobuser import FIRST_ID, LAST_ID, job_id, job_user, lend, unused_id

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def test_an_id_that_is_an_accounts_is_not_taken():
    assert unused_id(()) == FIRST_ID
    assert unused_id({0, FIRST_ID, FIRST_ID + 1}) == FIRST_ID + 2
    with pytest.raises(SandboxError, match="ordinary user of its own"):
        unused_id(range(FIRST_ID, LAST_ID + 1))


@as_root
def test_the_namespace_of_a_job_knows_root_and_its_user_alone():
    with job_user() as user:
        assert user.number == job_id() != 0
        assert os.readlink("/proc/self/ns/user") != f"user:[{os.fstat(user.namespace_fd).st_ino}]"  # noqa: PTH115
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(user.namespace_fd)


@as_root
def test_what_only_root_can_read_is_lent_and_nothing_else_is_touched(tmp_path):
    shard = tmp_path / "shard"
    (shard / "inner").mkdir(parents=True, mode=0o700)
    shard.chmod(0o700)
    for name, mode in (("private", 0o600), ("inner/private", 0o600), ("open", 0o644)):
        (shard / name).touch()
        (shard / name).chmod(mode)
    (tmp_path / "elsewhere").touch(0o600)
    (shard / "link").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        lend(shard)
    owners = {path.name: path.lstat().st_uid for path in (*shard.rglob("*"), shard)}
    assert owners == {
        "shard": job_id(),
        "inner": job_id(),
        "private": job_id(),
        "open": 0,
        "link": 0,
    }
    assert stat.S_IMODE((shard / "private").stat().st_mode) == 0o600
    assert (tmp_path / "elsewhere").stat().st_uid == 0


@as_root
@pytest.mark.parametrize("how", ["second name", "another's"])
def test_what_is_not_roots_alone_to_give_is_refused(tmp_path, how):
    (tmp_path / "shard").mkdir()
    mine = tmp_path / "shard" / "mine"
    mine.touch(0o600)
    if how == "second name":
        os.link(mine, tmp_path / "second")
    else:
        os.chown(mine, 64_999, -1)
    with pytest.raises(SandboxError, match=r"cannot read .*mine.*chmod"):
        lend(tmp_path / "shard")
    assert mine.stat().st_uid != job_id()


def test_where_the_agent_is_not_root_jobs_keep_its_id(tmp_path, monkeypatch):
    job_id.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    try:
        with job_user() as user:
            assert user is None
        lend(tmp_path / "not there")
    finally:
        job_id.cache_clear()
