"""Two hospitals and a researcher, each in a network namespace of its own, over real OpenSSH.

The only address that any of them can reach is the relay's. The relay is set up as docs/relay.md
says: the page's own sshd_config block and folder script are run, with one system account each
(in a private copy of /etc/passwd), chrooted, no shell. Hospital A logs in with a key, B with a
key that has a passphrase, the researcher with a password. One study goes from pairing to its
summary; while both hospitals train, the server is killed and started again.

`make test-sftp-round` runs it, as root. It is no part of `make test`: it needs the right to make
namespaces, and minutes.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.demo import write_phantoms

from .conftest import PROGRAM, SMALL, edited, until

PAGE = (Path(__file__).parents[2] / "docs" / "relay.md").read_text()
RELAY = "10.77.0.1"
URL = f"@{RELAY}/relay"
SECRET = "correct-horse-battery-staple"  # noqa: S105
SITES = {"A": "owner@hospital-a.example", "B": "owner@hospital-b.example"}
RESEARCHER = "ann@university.example"
ACCOUNTS = {"A": "hosp-a", "B": "hosp-b", "R": "ann"}
SERVER = """
set -eu
root=$1
mount -t tmpfs -o mode=755 none /srv
mkdir -p /srv/dura/relay /srv/keys /run/sshd
mount --bind "$root/relay" /srv/dura/relay
cp "$root"/authorized/* /srv/keys/
chmod 755 /srv/keys && chmod 644 /srv/keys/*
for file in passwd group shadow; do mount --bind "$root/etc/$file" "/etc/$file"; done
sh "$root/layout.sh"
exec "$2" -D -e -f "$root/sshd_config"
"""


def sh(*words, **options):
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{words}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass
class World:
    """Namespaces, the relay's server, the participants' processes."""

    root: Path
    tag: str = f"dura{os.getpid()}"
    server: subprocess.Popen | None = None
    agents: dict = field(default_factory=dict)

    def space(self, who):
        return f"{self.tag}-{who}"

    def dura(self, who, *words):
        """A participant's own command, in its own namespace."""
        return self.inside(who, *PROGRAM, *words)

    def inside(self, who, *words):
        words = ["ip", "netns", "exec", self.space(who), *map(str, words)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def must(self, who, *words):
        done = self.dura(who, *words)
        assert done.returncode == 0, f"{who}: dura {words}: {done.stderr or done.stdout}"
        return done.stdout

    def site(self, name):
        return self.root / "run" / "sites" / name

    @property
    def study(self):
        return self.root / "study"

    def keys(self, who):
        return (self.study if who == "R" else self.site(who)) / "keys"


def block(kind, containing):
    """A code block of docs/relay.md."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (text,) = [text for name, text in found if name == kind and containing in text]
    return text


def make_spaces(world):
    sh("ip", "netns", "add", world.space("relay"))
    inside = ("ip", "-n", world.space("relay"))
    sh(*inside, "addr", "add", f"{RELAY}/32", "dev", "lo")
    sh(*inside, "link", "set", "lo", "up")
    for number, who in enumerate(ACCOUNTS, 1):
        space = world.space(who)
        sh("ip", "netns", "add", space)
        ends = (f"d{number}r{os.getpid()}", f"d{number}p{os.getpid()}")
        sh("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        sh("ip", "link", "set", ends[0], "netns", world.space("relay"))
        sh("ip", "link", "set", ends[1], "netns", space)
        sh(*inside, "addr", "add", f"10.77.{number}.1/24", "dev", ends[0])
        sh(*inside, "link", "set", ends[0], "up")
        sh("ip", "-n", space, "addr", "add", f"10.77.{number}.2/24", "dev", ends[1])
        sh("ip", "-n", space, "link", "set", ends[1], "up")
        sh("ip", "-n", space, "link", "set", "lo", "up")
        sh("ip", "-n", space, "route", "add", "default", "via", f"10.77.{number}.1")


def make_accounts(world):
    """Copies of the system's account files with the participants' accounts in them."""
    etc, authorized = world.root / "etc", world.root / "authorized"
    etc.mkdir()
    authorized.mkdir()
    for name in ("passwd", "group", "shadow"):
        shutil.copy(f"/etc/{name}", etc / name)
    hashed = sh("openssl", "passwd", "-6", SECRET).strip()
    with (etc / "passwd").open("a") as users, (etc / "group").open("a") as groups:
        groups.write(f"dura:x:64999:{','.join(ACCOUNTS.values())}\n")
        for number, account in enumerate(ACCOUNTS.values(), 65001):
            users.write(f"{account}:x:{number}:{number}::/:/usr/sbin/nologin\n")
            groups.write(f"{account}:x:{number}:\n")
    with (etc / "shadow").open("a") as shadow:
        for who, account in ACCOUNTS.items():
            shadow.write(f"{account}:{hashed if who == 'R' else '*'}:20000:0:99999:7:::\n")


def make_keys(world):
    """Each participant's credentials, and the server's key that all of them pin."""
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", world.root / "host")
    kind, text = (world.root / "host.pub").read_text().split()[:2]
    for who, account in ACCOUNTS.items():
        folder = world.keys(who)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "known_hosts").write_text(f"{RELAY} {kind} {text}\n")
        lines = [f'password = "{SECRET}"']
        if who != "R":
            phrase = SECRET if who == "B" else ""
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", folder / "id_ed25519")
            shutil.copy(folder / "id_ed25519.pub", world.root / "authorized" / account)
            lines = ['key_file = "id_ed25519"', f'key_passphrase = "{phrase}"']
        (folder / "relay.toml").write_text("\n".join(lines) + "\n")
        (folder / "relay.toml").chmod(0o600)


def start_server(world):
    with (world.root / "sshd.log").open("ab") as log:
        world.server = subprocess.Popen(
            [
                "ip", "netns", "exec", world.space("relay"), "sh", "-c", SERVER, "relay",
                str(world.root), shutil.which("sshd", path="/usr/sbin:/sbin:" + os.environ["PATH"]),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip
    probe = f"import socket; socket.create_connection(({RELAY!r}, 22), 1)"
    until("the server", lambda: world.inside("A", PROGRAM[0], "-c", probe).returncode == 0, 30)


def stop_server(world):
    """Kill the server and every session it serves."""
    found = sh("ip", "netns", "pids", world.space("relay")).split()
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)
    world.server.wait(20)


def prepare(world):
    (world.root / "relay").mkdir()
    write_phantoms(world.root / "phantoms", per_class=45, seed=3)
    world.must(
        "R", "data", "split", world.root / "phantoms", "--out", world.root / "data",
        "--clients", 2, "--test", 0.25, "--holdout", 0.1,
    )  # fmt: skip
    for name, email in SITES.items():
        world.must(
            name, "site", "init", world.site(name), "--name", name, "--email", email,
            "--relay", f"sftp://{ACCOUNTS[name]}{URL}", "--epsilon", 8.0, "--delta", 1e-5,
            "--image-size", 64,
        )  # fmt: skip
    make_accounts(world)
    make_keys(world)
    (world.root / "layout.sh").write_text(block("sh", "own()"))
    (world.root / "sshd_config").write_text(
        f"ListenAddress 0.0.0.0\nHostKey {world.root}/host\nPidFile none\nUsePAM no\n"
        "AuthorizedKeysFile /srv/keys/%u\nSubsystem sftp internal-sftp\n"
        + block("", "ChrootDirectory")
    )


def ingest(world):
    data = world.root / "data"
    for name in SITES:
        world.must(
            name, "site", "ingest", world.site(name), data / f"client_{name}_train",
            "--test", data / f"client_{name}_test",
        )  # fmt: skip


def pair(world):
    hospitals = ",".join(SITES.values())
    world.must(
        "R", "study", "init", world.study, "--name", "tumours", "--email", RESEARCHER,
        "--relay", f"sftp://ann{URL}", "--hospitals", hospitals, "--rounds", 1,
        "--model", "small_cnn",
    )  # fmt: skip
    path = world.study / "study.toml"
    path.write_text(edited(path.read_text(), SMALL | {("generator", "pooled"): "false"}))
    asked = world.must("R", "study", "pair", world.study)
    own = asked.splitlines()[0].rsplit(" ", 1)[-1]
    pins = []
    for name, email in SITES.items():
        mark = world.must(name, "site", "fingerprint", world.site(name)).split()[-1]
        until("the request", lambda n=name: RESEARCHER in world.must(
            n, "site", "peers", world.site(n)
        ))  # fmt: skip
        world.must(name, "site", "pair", world.site(name), RESEARCHER, own, "--as", "owner")
        pins += ["--pin", f"{email}={mark}"]
    world.must("R", "study", "pair", world.study, *pins)


def approve(world):
    plan = world.must("R", "study", "submit", world.study).split()[1]
    for name in SITES:
        until("the plan", lambda n=name: plan[:12] in world.must(
            n, "site", "requests", world.site(n)
        ))  # fmt: skip
        world.must(
            name, "site", "approve", world.site(name), plan[:12], "--as", "owner",
            "--reason", "read", "--standing-release", "--accept-synthetic",
        )  # fmt: skip


def run(world):
    """Conduct the study; the server is killed while both hospitals train, and comes back."""
    words = (
        "study", "run", world.study, "--test", world.root / "data" / "researcher_test",
        "--out", world.root / "run", "--wait-s", 240,
    )  # fmt: skip
    command = ["ip", "netns", "exec", world.space("R"), *PROGRAM, *map(str, words)]
    with (world.root / "R.log").open("wb") as log:
        conductor = subprocess.Popen(command, stdout=log, stderr=log)
    world.agents["R"] = conductor
    logs = [world.root / f"{name}.log" for name in SITES]
    until("training", lambda: all("r0001" in log.read_text() for log in logs))
    stop_server(world)
    time.sleep(3)
    start_server(world)
    code = conductor.wait(600)
    assert code == 0, (world.root / "R.log").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.fail("this needs root and iproute2, for network namespaces")
    world = World(tmp_path_factory.mktemp("sftp"))
    try:
        make_spaces(world)
        prepare(world)
        start_server(world)
        ingest(world)
        for name in SITES:
            with (world.root / f"{name}.log").open("wb") as log:
                command = [*PROGRAM, "site", "serve", str(world.site(name))]
                world.agents[name] = subprocess.Popen(
                    ["ip", "netns", "exec", world.space(name), *command], stdout=log, stderr=log
                )
        pair(world)
        approve(world)
        run(world)
        yield world
    finally:
        for agent in world.agents.values():
            agent.terminate()
            agent.wait(60)
        if world.server is not None:
            stop_server(world)
        for who in (*ACCOUNTS, "relay"):
            pids = subprocess.run(
                ["ip", "netns", "pids", world.space(who)], capture_output=True, check=False
            )
            for pid in pids.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            subprocess.run(["ip", "netns", "del", world.space(who)], check=False)


def test_the_round_is_whole(world):
    summary = json.loads((world.root / "run" / "summary.json").read_text())
    assert set(summary["epsilon"]) == set(SITES.values())
    assert all(0 < spent <= 8 for spent in summary["epsilon"].values())
    assert (world.root / "run" / "model.safetensors").stat().st_size > 0
    out = world.must("R", "audit", "verify", world.root / "run")
    assert "all 2 ledgers hold" in out


def test_both_hospitals_trained_in_that_round(world):
    for email in SITES.values():
        assert list((world.root / "run" / "receipts" / email).iterdir())


def test_the_kill_of_the_server_was_noticed_and_survived(world):
    for name in SITES:
        assert world.agents[name].poll() is None
        log = (world.root / f"{name}.log").read_text()
        assert "nothing was lost" in log
        assert "Traceback" not in log


def test_nobody_reaches_anybody_but_the_relay(world):
    for number, who in enumerate(ACCOUNTS, 1):
        for other in range(1, len(ACCOUNTS) + 1):
            if other == number:
                continue
            code = f"import socket; socket.create_connection(('10.77.{other}.2', 22), 1)"
            assert world.inside(who, PROGRAM[0], "-c", code).returncode != 0


def test_the_accounts_cannot_read_each_others_messages(world):
    """As the page's table of rights says, seen from the folders that the round left."""
    relay = world.root / "relay"
    owners = {}
    for path in relay.glob("channels/*/*/*"):
        about = path.stat()
        assert about.st_mode & 0o007 == 0, path
        owners[path.relative_to(relay).parts[1:]] = (about.st_uid, about.st_gid)
    a, b, ann = 65001, 65002, 65003
    assert owners == {
        ("owner@hospital-a.example", "inbox", RESEARCHER): (ann, a),
        ("owner@hospital-a.example", "outbox", RESEARCHER): (a, ann),
        ("owner@hospital-b.example", "inbox", RESEARCHER): (ann, b),
        ("owner@hospital-b.example", "outbox", RESEARCHER): (b, ann),
    }


def test_consumed_messages_are_gone_and_no_secret_is_anywhere(world):
    left = [path.name for path in (world.root / "relay").glob("channels/*/*/*/*")]
    assert [name for name in left if not name.startswith(".keep")] == []
    kept = [path for path in world.root.rglob("*") if path.is_file() and path.name != "relay.toml"]
    for path in kept:
        assert SECRET.encode() not in path.read_bytes(), path
