"""`dura site doctor`: is this machine, and this site on it, fit to hold patients' data?

Every check looks for itself and says what it found and, where something is missing, how to mend
it. A check that fails in an unforeseen way counts as a problem, never as fine. Nothing is changed
at the site; the relay sees what any start of the agent shows it.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from datasites.errors import DatasitesError
from datasites.owner.damage import damaged
from datasites.sandbox import (
    OWN,
    ROOT,
    Limits,
    find_gpu,
    find_installation,
    find_parent,
    landlock_version,
    probe_gpu,
    require_sandbox,
    run_inside,
)
from datasites.site import Site, behind, left_behind, unsafe_uses
from models import (
    ModelsError,
    ReportError,
    check_encoder,
    encoder_sha256,
    find_model,
    open_encoder,
)
from privacy import PrivacyError

LOW_DISK_BYTES = 20 * 1024**3
NO_DISK_BYTES = 2 * 1024**3
_SWITCHES = {
    "/proc/sys/kernel/unprivileged_userns_clone": (
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces=10000"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "install an AppArmor profile that allows bwrap `userns`, see docs/operations.md",
    ),
}


class Health(StrEnum):
    """How a check came out."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class HealthFinding:
    """What one check found.

    Attributes:
        health: how it came out.
        what: what was found.
        mend: what to do about it; empty when it is fine.
        name: of the check.
    """

    health: Health
    what: str
    mend: str = ""
    name: str = ""


def examine(site: Site) -> list[HealthFinding]:
    """Every check of this site, in the order a person would mend things."""
    checks: dict[str, Callable[[Site], HealthFinding]] = {
        "account": _account,
        "sandbox": _sandbox,
        "namespaces": _namespaces,
        "system calls": _system_calls,
        "job user": _job_user,
        "landlock": _landlock,
        "cgroup": _cgroup,
        "file modes": _modes,
        "keys": _keys,
        "ledger": _ledger,
        "ledger behind": _behind,
        "clock": _clock,
        "disk": _disk,
        "left by jobs": _leftovers,
        "relay": _relay,
        "peers": _peers,
        "reviewers": _reviewers,
        "encoder": _encoder,
        "report model": _report_model,
        "report device": _report_device,
        "data": _data,
        "own files": _own_files,
        "unsafe runs": _unsafe,
    }
    return [_guarded(name, check, site) for name, check in checks.items()]


def _guarded(name: str, check: Callable[[Site], HealthFinding], site: Site) -> HealthFinding:
    try:
        found = check(site)
    except (DatasitesError, PrivacyError, ModelsError, ReportError) as error:
        found = _problem(str(error), "mend what the message names")
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        found = _problem(f"could not be checked: {error}", "check by hand")
    return replace(found, name=name)


def _fine(what: str) -> HealthFinding:
    return HealthFinding(Health.FINE, what)


def _warning(what: str, mend: str) -> HealthFinding:
    return HealthFinding(Health.WARNING, what, mend)


def _problem(what: str, mend: str) -> HealthFinding:
    return HealthFinding(Health.PROBLEM, what, mend)


def _account(_site: Site) -> HealthFinding:
    if os.geteuid() == 0:
        return _warning(
            "the agent is root: a hole in it is a hole in the machine (its jobs are not root)",
            "run the site as an ordinary user of its own: useradd --system dura",
        )
    return _fine(f"user {os.geteuid()}, not root")


def _sandbox(_site: Site) -> HealthFinding:
    installation = require_sandbox()
    told = subprocess.run(
        [str(installation.bwrap), "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return _fine(f"{told.stdout.strip()} starts here")


def _namespaces(_site: Site) -> HealthFinding:
    for path, (bad, mend) in _SWITCHES.items():
        switch = Path(path)
        if os.geteuid() != 0 and switch.exists() and switch.read_text().strip() == bad:
            return _problem(f"{path} is {bad}", mend)
    return _fine("user namespaces may be made")


def _system_calls(_site: Site) -> HealthFinding:
    """Start a sandbox as jobs have it, and look from inside what powers are left."""
    done = run_inside(
        ["/usr/bin/cat", "/proc/self/status"],
        installation=find_installation(),
        limits=Limits(may_fork=True),
    )
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    powers = {int(status.get(f"Cap{kind}", "1"), 16) for kind in ("Inh", "Prm", "Eff", "Amb")}
    if status.get("Seccomp") == "2" and powers == {0}:
        return _fine("filtered, and no capability is left")
    return _problem(
        f"the filter is not on in a sandbox: {done.stderr.strip()[:200]}",
        "use a kernel with CONFIG_SECCOMP_FILTER",
    )


def _job_user(_site: Site) -> HealthFinding:
    """Look from inside whose powers a job has."""
    done = run_inside(
        ["/usr/bin/id", "-u"], installation=find_installation(), limits=Limits(may_fork=True)
    )
    number = done.stdout.strip()
    if done.returncode == 0 and number not in ("", "0"):
        return _fine(f"jobs are user {number}, who has no powers")
    return _problem(
        f"a job would be user {number or 'unknown'} ({done.stderr.strip()[:200]})",
        "run the agent as an ordinary user of its own: useradd --system dura; chown -R dura SITE",
    )


def _landlock(_site: Site) -> HealthFinding:
    version = landlock_version()
    if version:
        return _fine(f"the kernel has it (version {version}); jobs confine themselves once more")
    return _warning(
        "this kernel has no Landlock; mounts and the filter are a job's walls alone",
        "use a kernel of 5.13 or later with `landlock` in CONFIG_LSM (or lsm= at boot)",
    )


def _leftovers(site: Site) -> HealthFinding:
    left = left_behind(site)
    if left:
        return _problem(
            f"{len(left)} folder(s) of ended jobs could not be removed: {left[0]}",
            f"look what holds them, then rm -r {left[0]}",
        )
    return _fine("nothing of ended jobs is left")


def _cgroup(_site: Site) -> HealthFinding:
    parent = find_parent(ROOT, OWN.read_text()) if OWN.exists() else None
    if parent is not None:
        return _fine(f"jobs get groups below {parent}")
    return _warning(
        "no cgroup v2 is delegated to this process; each memory a job can have is bounded by "
        "prlimit or its size, but what the kernel itself keeps for a job is not",
        "run the agent as a systemd service with `Delegate=memory pids`",
    )


def _modes(site: Site) -> HealthFinding:
    open_to_others = [
        path
        for path in (site.root, *sorted(site.root.rglob("*")))
        if not path.is_symlink()
        and _private(site, path)
        and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    others = [path for path in (site.root, site.keys) if path.stat().st_uid != os.geteuid()]
    if open_to_others or others:
        first = (open_to_others or others)[0]
        return _problem(
            f"{len(open_to_others) + len(others)} of the site's files are open to others, or "
            f"another's: {first}",
            f"chmod -R go= {site.root}; chown -R to the site's own user",
        )
    return _fine("the site's files are its owner's only")


def _private(site: Site, path: Path) -> bool:
    """Whether nobody but the owner may come near it: the root, and all in keys."""
    return path == site.root or path.is_relative_to(site.keys)


def _keys(site: Site) -> HealthFinding:
    waiting = site.keys / "syft_keys.next.json"
    if waiting.exists():
        return _problem(
            "a key rotation was interrupted",
            f"start the agent, or `dura site fingerprint {site.root}`: either completes it",
        )
    return _fine(f"ledger key {site.key.public_hex[:16]}...")


def _ledger(site: Site) -> HealthFinding:
    from privacy import verify_file

    head = verify_file(site.ledger_path, public_hex=site.key.public_hex)
    return _fine(f"verified, {head.entries} entries")


def _behind(site: Site) -> HealthFinding:
    found = behind(site)
    if found is not None:
        return _problem(
            str(found), f"see docs/operations.md, `ledger_behind`; the site is {site.root}"
        )
    return _fine("no receipt is known that names an entry which is not here")


def _clock(site: Site) -> HealthFinding:
    last = max(sealed.entry.time for sealed in site.ledger.entries())
    now = datetime.now(UTC)
    if datetime.fromisoformat(last) > now:
        return _problem(
            f"the clock says {now:%Y-%m-%dT%H:%M:%SZ}; the ledger's last entry is of {last}",
            "set the clock (timedatectl set-ntp true); approvals expire by it",
        )
    if not Path("/run/systemd/timesync/synchronized").exists():
        return _warning(
            f"{now:%Y-%m-%dT%H:%M:%SZ}; nobody here vouches that it is synchronised",
            "timedatectl set-ntp true, unless the host is kept on time in another way",
        )
    return _fine(f"{now:%Y-%m-%dT%H:%M:%SZ}, synchronised")


def _disk(site: Site) -> HealthFinding:
    free = shutil.disk_usage(site.root).free
    said = f"{free / 1024**3:.0f} GiB are free"
    mend = "make room: a full disk under the ledger refuses runs"
    if free < LOW_DISK_BYTES:
        health = Health.PROBLEM if free < NO_DISK_BYTES else Health.WARNING
        return HealthFinding(health, said, mend)
    return _fine(said)


def _relay(site: Site) -> HealthFinding:
    from datasites.owner.pairing import open_link

    odd = open_link(site).oddities()
    if odd:
        return _problem("; ".join(odd), "remove it, or ask whoever runs the relay to")
    return _fine(f"{site.settings.relay} is there and can be written")


def _peers(site: Site) -> HealthFinding:
    from datasites.owner.pairing import open_link

    link = open_link(site)
    paired, asking = link.paired(), link.pending_peers()
    if asking:
        return _warning(
            f"{len(paired)} paired; {len(asking)} ask to be: {asking[0].email}",
            "compare their words by telephone, then `dura site pair`, or leave them",
        )
    return _fine(f"{len(paired)} paired; nobody asks")


def _reviewers(site: Site) -> HealthFinding:
    settings = site.settings
    if not settings.reviewers:
        return _warning(
            "anybody with access to this account may approve",
            "name them in site.toml: reviewers = [...], quorum = N",
        )
    return _fine(f"{settings.quorum} of {', '.join(settings.reviewers)}")


def _encoder(site: Site) -> HealthFinding:
    """Read the encoder that plans may name, whole."""
    folder = site.settings.encoder
    if not folder:
        return _fine("the shipped one alone; no plan may name another")
    open_encoder(Path(folder))
    card = check_encoder(Path(folder))
    return _fine(f"{card.name}, {encoder_sha256(Path(folder))[:12]}, beside the shipped one")


def _report_model(site: Site) -> HealthFinding:
    source = find_model(site.settings.report_model or None, offline=True)
    return _fine(str(source.folder))


def _report_device(site: Site) -> HealthFinding:
    """Find the GPU that the settings name, and start its driver in a sandbox."""
    gpu = find_gpu(site.settings.report_device)
    if gpu is None:
        return _fine("cpu; no job sees an accelerator")
    probe_gpu(find_installation(), gpu)
    shown = ", ".join(str(node) for node in gpu.nodes.values())
    return _fine(f"{site.settings.report_device}; jobs that write reports see {shown}")


def _data(site: Site) -> HealthFinding:
    if not site.has_data:
        return _warning("nothing was ingested yet", f"dura site ingest {site.root} FOLDER")
    return _fine(f"data set {site.card().dataset_version[:12]}")


def _own_files(site: Site) -> HealthFinding:
    found = damaged(site)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return _problem(
            f"{found[0]}{more}",
            "put it back from a copy, or decide or ingest anew; what depends on it is refused "
            "until then, see docs/operations.md",
        )
    return _fine("every record of the site can be read")


def _unsafe(site: Site) -> HealthFinding:
    times = unsafe_uses(site)
    if times:
        return _problem(
            f"--unsafe-no-sandbox was used {len(times)} time(s), last at {times[-1]}",
            "install bubblewrap and serve without the option; the ledger keeps the entries",
        )
    return _fine("every job ran in a sandbox")
