"""Cgroup v2: the decision over a tree of files (all that runs without a delegated group)."""

import subprocess

import pytest

from datasites.sandbox import Limits
from datasites.sandbox.cgroup import (
    cap_values,
    entered,
    find_parent,
    make_group,
    remove_group,
)


@pytest.fixture
def tree(tmp_path):
    """A root with one delegated service, as systemd makes it, with the agent in a leaf."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    service = tmp_path / "system.slice" / "dura.service"
    (service / "agent").mkdir(parents=True)
    (service / "cgroup.subtree_control").write_text("memory pids\n")
    (service / "agent" / "cgroup.subtree_control").write_text("\n")
    return tmp_path


OWN = "0::/system.slice/dura.service/agent\n"


def test_a_delegated_group_is_found_beside_the_agents(tree):
    assert find_parent(tree, OWN) == tree / "system.slice" / "dura.service"


@pytest.mark.parametrize(
    "own", ["", "4:memory:/x\n", "0::/elsewhere\n", "0::/\n"], ids=["none", "v1", "gone", "root"]
)
def test_where_nothing_was_delegated_there_is_none(tree, own):
    assert find_parent(tree, own) is None


def test_without_both_controllers_or_without_cgroup_v2_there_is_none(tree):
    control = tree / "system.slice" / "dura.service" / "cgroup.subtree_control"
    control.write_text("memory\n")
    assert find_parent(tree, OWN) is None
    control.write_text("memory pids\n")
    (tree / "cgroup.controllers").unlink()
    assert find_parent(tree, OWN) is None


def test_the_caps_are_the_jobs_limits_and_a_job_enters_before_it_starts(tree):
    limits = Limits(memory_bytes=1000, processes=7)
    group = make_group(tree / "system.slice" / "dura.service", limits)
    assert (group / "memory.max").read_text() == "1000"
    assert (group / "pids.max").read_text() == "7"
    assert cap_values(limits)["memory.oom.group"] == "1"
    done = subprocess.run(
        entered(["/bin/sh", "-c", "echo $$"], group), capture_output=True, text=True, check=True
    )
    assert (group / "cgroup.procs").read_text() == done.stdout
    remove_group(group)  # not empty here, where files are only files: left, and nothing raised
    assert group.exists()
