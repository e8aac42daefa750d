"""One GPU for the report writer: the decision, the argument list, a real sandbox over stand-ins.

No GPU is on the machines that run these tests: what is shown of the driver itself is that its
absence is found. /dev/null and /dev/zero stand in for the device nodes.
"""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from datasites.errors import SandboxError
from datasites.sandbox import Gpu, Limits, Mounts, find_gpu, probe_gpu, require_sandbox, run_inside
from datasites.sandbox import driver as driver_module
from datasites.sandbox.command import limited, sandbox_argv
from datasites.sandbox.driver import link_chain
from datasites.sandbox.gpu import driver_libraries, gpu_nodes, gpu_number

NODES = ["null", "nvidia0", "nvidia1", "nvidia-uvm", "nvidia-uvm-tools", "nvidiactl", "kvm", "sda"]
CACHE = """2 libs found in cache `/etc/ld.so.cache'
\tlibcudart.so.12 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcudart.so.12
\tlibcuda.so.1 (libc6,x86-64) => /opt/driver/libcuda.so.1
\tlibnvidia-ml.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1
\tlibnvidia-nvvm.so.4 (libc6,x86-64) => /lib/x86_64-linux-gnu/libnvidia-nvvm.so.4
"""
STAND_INS = {name: Path("/dev/null") for name in ("nvidiactl", "nvidia-uvm", "nvidia1")}


@pytest.mark.parametrize(
    ("device", "number"), [("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)]
)
def test_the_setting_names_at_most_one_gpu(device, number):
    assert gpu_number(device) == number


def test_the_named_gpu_is_shown_and_no_other_device():
    shown = gpu_nodes(1, present=NODES, dev=Path("/dev"))
    assert sorted(shown) == ["nvidia-uvm", "nvidia-uvm-tools", "nvidia1", "nvidiactl"]
    assert all(path == Path("/dev") / name for name, path in shown.items())
    without_tools = [name for name in NODES if name != "nvidia-uvm-tools"]
    assert "nvidia-uvm-tools" not in gpu_nodes(1, present=without_tools, dev=Path("/dev"))


@pytest.mark.parametrize("missing", ["nvidiactl", "nvidia-uvm", "nvidia1"])
def test_a_gpu_that_is_not_there_is_refused_by_name(missing):
    present = [name for name in NODES if name != missing]
    with pytest.raises(SandboxError, match=rf"/dev/{missing} is not here; set report_device"):
        gpu_nodes(1, present=present, dev=Path("/dev"))


def test_only_what_usr_does_not_hold_is_bound_wherever_links_lead():
    over = Path("/etc/alternatives/libcuda")
    chains = {Path("/opt/driver/libcuda.so.1"): [over, Path("/usr/lib/nvidia/libcuda.so.570")]}
    found = driver_libraries(CACHE, lambda path: [path, *chains.get(path, [])])
    file = Path("/usr/lib/nvidia/libcuda.so.570")
    assert found == {Path("/opt/driver/libcuda.so.1"): file, over: file}


@pytest.mark.parametrize("cache", ["", CACHE.replace("libcuda.so.1 ", "libcuda.so ")])
def test_a_machine_without_the_driver_is_refused(cache):
    with pytest.raises(SandboxError, match=r"the loader knows no libcuda.so.1"):
        driver_libraries(cache, lambda path: [path])


def test_the_links_of_a_library_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "lib.so.2").write_text("code")
    (tmp_path / "lib.so.1").symlink_to("real/../real/lib.so.2")
    (tmp_path / "lib.so").symlink_to(tmp_path / "lib.so.1")
    chain = link_chain(tmp_path / "lib.so")
    assert chain[:2] == [tmp_path / "lib.so", tmp_path / "lib.so.1"]
    assert chain[-1] == tmp_path / "real" / "lib.so.2"
    (tmp_path / "round").symlink_to("round")
    assert len(link_chain(tmp_path / "round")) < 20
    assert link_chain(tmp_path / "none") == [tmp_path / "none"]


def test_a_cpu_needs_nothing_and_this_machine_is_looked_at(tmp_path, monkeypatch):
    assert find_gpu("cpu") is None
    monkeypatch.setattr(driver_module, "DEV", tmp_path)
    with pytest.raises(SandboxError, match=f"{tmp_path}/nvidia3 is not here"):
        find_gpu("cuda:3")
    for name in ("nvidiactl", "nvidia-uvm", "nvidia3"):
        (tmp_path / name).touch()
    monkeypatch.setattr(driver_module, "_loader_cache", lambda: CACHE)
    gpu = find_gpu("cuda:3")
    assert gpu == Gpu(
        {name: tmp_path / name for name in ("nvidiactl", "nvidia-uvm", "nvidia3")},
        {Path("/opt/driver/libcuda.so.1"): Path("/opt/driver/libcuda.so.1")},
        3,
    )


FOLDER = ("--perms", "0755", "--dir")


def test_the_argument_list_differs_by_the_gpu_alone(tmp_path):
    file = tmp_path / "libcuda.so.570"
    gpu = Gpu(STAND_INS, {Path("/opt/driver/libcuda.so.1"): file})
    limits = Limits(memory_bytes=1000)
    plain, with_gpu = (
        sandbox_argv(
            ["prog"],
            bwrap=Path("/usr/bin/bwrap"),
            mounts=Mounts((), {}, tmp_path, shown),
            limits=limits,
        )
        for shown in (None, gpu)
    )
    extra = ["--dev-bind", "/dev/null", "/dev/nvidiactl", "--dev-bind", "/dev/null"]
    extra += ["/dev/nvidia-uvm", "--dev-bind", "/dev/null", "/dev/nvidia1"]
    extra += ["--ro-bind", str(file), "/opt/driver/libcuda.so.1"]
    at = plain.index("/dev") + 1
    expected = [*plain[:at], *extra, *plain[at:]]
    above = [part for name in ("/opt", "/opt/driver") for part in (*FOLDER, name)]
    at = expected.index("/etc") + 1
    expected = [*expected[:at], *above, *expected[at:]]
    expected[expected.index("--as=625")] = "--data=625"
    assert with_gpu == expected
    assert not [part for part in plain if "nvidia" in part]
    assert "--as=625" in limited(["prog"], limits)


def test_a_real_sandbox_shows_the_nodes_and_the_library_and_bounds_memory(tmp_path):
    (tmp_path / "libcuda.so.570").write_text("the driver")
    gpu = Gpu(STAND_INS, {Path("/opt/driver/libcuda.so.1"): tmp_path / "libcuda.so.570"})

    def inside(script, shown, **limits):
        return run_inside(
            ["/bin/sh", "-c", script],
            installation=replace(require_sandbox(), code=()),
            limits=Limits(may_fork=True, **limits),
            gpu=shown,
        )

    look = "ls /dev | grep nvidia; cat /opt/driver/libcuda.so.1; echo x > /opt/driver/libcuda.so.1"
    seen = inside(f"{look}; echo x > /dev/nvidia1 && echo written", gpu)
    assert seen.stdout.split("\n")[:3] == ["nvidia-uvm", "nvidia1", "nvidiactl"]
    assert "the driver" in seen.stdout
    assert "written" in seen.stdout
    assert "Read-only file system" in seen.stderr
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert "nvidia" not in inside("ls /dev", None).stdout
    hungry = "head -c 600000000 /dev/zero | tail"
    assert inside(hungry, gpu, memory_bytes=256 * 1024**2).stdout == ""


def test_a_driver_that_does_not_start_inside_is_said_in_one_line():
    with pytest.raises(SandboxError, match=r"does not start in a sandbox .*libcuda.so.1") as told:
        probe_gpu(require_sandbox(), Gpu(STAND_INS))
    assert "\n" not in str(told.value)
