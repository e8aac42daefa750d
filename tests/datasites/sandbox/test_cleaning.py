"""What jobs left on disk is removed, however deep, closed or oddly named; what stays is named."""

import os
import subprocess

import pytest

from datasites.errors import CleanUpError
from datasites.sandbox import remove_tree

DEEP = 60
"""Folders with names of 200 bytes: three times what a path can say."""


@pytest.fixture
def left(tmp_path):
    folder = tmp_path / "scratch" / "job"
    folder.mkdir(parents=True)
    return folder


def nest(folder, depth):
    """Make folders in folders and a file in the last; no path reaches them."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a" * 200, dir_fd=here)
        below = os.open("a" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("big", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_a_folder_beyond_the_longest_path_is_removed(left):
    nest(left, DEEP)
    nest(left.parent, 3)
    with pytest.raises(OSError, match="too long"):
        (left / "/".join(["a" * 200] * DEEP)).stat()
    remove_tree(left.parent)
    assert not left.parent.exists()


def test_closed_folders_links_pipes_and_odd_names_are_removed_and_nothing_else(left, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    closed = left / "closed" / "inner" / "last"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    os.mkfifo(left / "pipe")
    (left / "link").symlink_to(tmp_path / "mine")
    (left / os.fsdecode(b"\xff\n")).mkdir()
    for folder in (closed, closed.parent, closed.parent.parent):
        folder.chmod(0)
    remove_tree(left)
    assert not left.exists()
    assert (tmp_path / "mine" / "file").exists()
    remove_tree(left)
    remove_tree(tmp_path / "nowhere" / "job")


def test_a_link_in_its_place_is_not_followed(left, tmp_path):
    (left / "file").touch()
    (tmp_path / "link").symlink_to(left)
    with pytest.raises(CleanUpError, match="link"):
        remove_tree(tmp_path / "link")
    assert (left / "file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount or make a file immutable")
def test_what_stays_is_named_with_what_to_do(left):
    (left / "busy").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, check=False, timeout=20
    )
    if done.returncode != 0:
        pytest.skip("no mount may be made here")
    subprocess.run(["mount", "-t", "tmpfs", "none", left / "busy"], check=True, timeout=20)
    try:
        with pytest.raises(CleanUpError, match=r"cannot be removed .*rm -r"):
            remove_tree(left)
    finally:
        subprocess.run(["umount", left / "busy"], check=True, timeout=20)
    remove_tree(left)
