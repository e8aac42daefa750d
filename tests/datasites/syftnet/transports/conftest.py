"""Real servers on loopback, each started once: OpenSSH, an S3 server, a WebDAV server.

Every server can be stopped and started again on the same port, as a relay's operator does.
"""

import logging
import os
import shutil
import socket
import subprocess
import threading
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from datasites.site.relay_url import parse_relay_url
from datasites.syftnet.relay import Relay
from datasites.syftnet.transports import RelayAccess, open_storage

HOST = "127.0.0.1"
SECRET = "correct-horse-battery-staple"  # noqa: S105


def free_port():
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


def wait_for(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            sock.settimeout(1)
            if sock.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}")


@dataclass
class Place:
    """One relay on one server: its URL, its credentials, and its folder on the server."""

    kind: str
    url: str
    access: RelayAccess
    folder: Path | None
    server: object
    opened: list = field(default_factory=list)

    def open(self, **changes):
        self.opened.append(open_storage(parse_relay_url(self.url), replace(self.access, **changes)))
        return self.opened[-1]

    def relay(self, **changes):
        return Relay(self.url, storage=self.open(**changes))


class Folder:
    """No server, for the relay that is a folder."""

    def __init__(self, root):
        self.root = root

    def place(self, name):
        path = self.root / name
        path.mkdir(parents=True)
        return Place("file", f"file://{path}", RelayAccess(), path, self)

    def stop(self):
        self.root.rename(self.root.with_name("gone"))

    def start(self):
        self.root.with_name("gone").rename(self.root)


@dataclass
class Sshd:
    """OpenSSH, as the user who runs the tests, with key authentication only."""

    root: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    def __post_init__(self):
        self.program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if self.program is None or shutil.which("ssh-keygen") is None:
            pytest.fail("OpenSSH's server is missing: run `make sshd`, or install openssh-server")
        (self.root / "relays").mkdir(parents=True)
        for name in ("host", "other", "user", "stranger"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.root / name]
            subprocess.run(key, check=True)
        self.locked = self.root / "locked"
        subprocess.run(
            ["ssh-keygen", "-q", "-a", "1", "-t", "ed25519", "-N", SECRET, "-f", self.locked],
            check=True,
        )
        keys = [(self.root / f"{name}.pub").read_text() for name in ("user", "locked")]
        (self.root / "authorized").write_text("".join(keys))
        (self.root / "known_hosts").write_text(self.known("host"))
        self.start()

    def known(self, key):
        kind, text = (self.root / f"{key}.pub").read_text().split()[:2]
        return f"[{HOST}]:{self.port} {kind} {text}\n"

    def start(self, host_key="host"):
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where sshd confines its unprivileged child
        (self.root / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress {HOST}\nHostKey {self.root / host_key}\n"
            f"AuthorizedKeysFile {self.root}/authorized\nPidFile none\nStrictModes no\n"
            "UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            "Subsystem sftp internal-sftp\n"
        )
        config = ["-D", "-e", "-f", self.root / "sshd_config"]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen([self.program, *config], stderr=log, stdout=log)
        wait_for(self.port)

    def stop(self):
        """Kill the server and every connection it serves."""
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=False
        ).stdout.split()
        self.process.terminate()
        self.process.wait(20)
        for child in children:
            for pid in (*self._below(child), child):
                with_signal(int(pid))

    @staticmethod
    def _below(pid):
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", pid.decode()], capture_output=True, check=False
        )
        return found.stdout.split()

    def place(self, name):
        folder = self.root / "relays" / name
        folder.mkdir()
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
        return Place(
            "sftp",
            f"sftp://{user.stdout.strip()}@{HOST}:{self.port}{folder}",
            RelayAccess(
                key_file=str(self.root / "user"), known_hosts=str(self.root / "known_hosts")
            ),
            folder,
            self,
        )


def with_signal(pid):
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


class S3:
    """moto's S3 over HTTP. A stopped one forgets nothing: its state is the process's."""

    def __init__(self):
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._make = ThreadedMotoServer
        self.port = free_port()
        self.buckets = 0
        self.start()

    def start(self):
        self.server = self._make(ip_address=HOST, port=self.port, verbose=False)
        self.server.start()

    def stop(self):
        self.server.stop()

    def place(self, name):
        import boto3

        self.buckets += 1
        bucket = f"relay-{self.buckets}"
        endpoint = f"http://{HOST}:{self.port}"
        access = RelayAccess(
            access_key="AKIAEXAMPLE", secret_key=SECRET, endpoint_url=endpoint, region="us-east-1"
        )
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=bucket)
        client.close()
        return Place("s3", f"s3://{bucket}/dura", access, None, self)


class Webdav:
    """WsgiDAV behind cheroot, with a password."""

    def __init__(self, root, tls=None):
        self.root = root
        self.tls = tls
        self.port = free_port()
        self.start()

    def start(self):
        from cheroot.ssl.builtin import BuiltinSSLAdapter
        from cheroot.wsgi import Server
        from wsgidav.wsgidav_app import WsgiDAVApp

        self.root.mkdir(exist_ok=True)
        application = WsgiDAVApp(
            {
                "provider_mapping": {"/": str(self.root)},
                "simple_dc": {"user_mapping": {"*": {"dura": {"password": SECRET}}}},
                "http_authenticator": {"accept_digest": False, "accept_basic": True},
                "verbose": 0,
                "logging": {"enable": False},
            }
        )
        self.server = Server((HOST, self.port), application, numthreads=4, shutdown_timeout=1)
        if self.tls:
            self.server.ssl_adapter = BuiltinSSLAdapter(*map(str, self.tls))
        self.server.prepare()
        self.thread = threading.Thread(target=self.server.serve, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.stop()
        self.thread.join(20)

    def place(self, name):
        folder = self.root / name
        folder.mkdir()
        access = RelayAccess(username="dura", password=SECRET)
        scheme = "davs" if self.tls else "dav"
        return Place("dav", f"{scheme}://{HOST}:{self.port}/{name}", access, folder, self)


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Kind to server, started when first asked for and stopped at the end."""
    started = {}
    make = {
        "file": lambda: Folder(tmp_path_factory.mktemp("folder") / "relays"),
        "sftp": lambda: Sshd(tmp_path_factory.mktemp("sshd") / "root"),
        "s3": S3,
        "dav": lambda: Webdav(tmp_path_factory.mktemp("dav") / "root"),
    }

    def get(kind):
        if kind not in started:
            with warnings.catch_warnings():
                # The servers' own imports use what later Pythons will not have.
                warnings.simplefilter("ignore")
                started[kind] = make[kind]()
        return started[kind]

    yield get
    for kind, server in started.items():
        if kind != "file":
            server.stop()


@pytest.fixture
def new_place(servers):
    """A fresh, empty relay of a kind."""

    made = []

    def make(kind):
        made.append(servers(kind).place(f"r{time.monotonic_ns()}"))
        return made[-1]

    yield make
    for place in made:
        for storage in place.opened:
            storage.close()


@pytest.fixture(params=["file", "sftp", "s3", "dav"])
def place(request, new_place):
    return new_place(request.param)


@pytest.fixture
def storage(place):
    return place.open()
