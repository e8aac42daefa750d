"""Measures the wire on this machine: `make bench-wire`.

Prints, one `name: figure` a line:

- seconds, and seconds of processor time, from release at a hospital to verified at the researcher
  for a 45 MB weight file over a local relay (envelope, signature, hash and write-once check
  included), for random bytes and for normally distributed weights; the same over OpenSSH when an
  SFTP relay is given as DURA_BENCH_SFTP (with DURA_RELAY_... credentials);
- what the message takes on the relay, as a share of the released bytes, and what is left of it
  after it was consumed;
- the share of one core that `dura site serve` uses in 60 s at an idle site that has data, a
  paired researcher and 300 answered requests.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from datasites.agent.request_store import Request, RequestState, RequestStore
from datasites.owner.pairing import participant
from datasites.site.settings import make_settings
from datasites.site.site import Site
from privacy import Budget

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from datasites.syftnet import OwnerLink, ResearcherLink
    from datasites.syftnet.client import Participant

SITE, RESEARCHER = "owner@hospital-a.example", "ann@university.example"
SIZE = 45_000_000
IDLE_S = float(os.environ.get("DURA_BENCH_IDLE_S", "60"))
REQUESTS = 300


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "relay").mkdir()
        site = make_site(root, (root / "relay").as_uri())
        links = pair(root, site, (root / "relay").as_uri())
        weights = np.random.default_rng(1).normal(size=SIZE // 4).astype("float32").tobytes()
        for kind, data in (("random bytes", os.urandom(SIZE)), ("weights", weights)):
            transfer(links, data, kind=f"local relay, {kind}", relay=root / "relay")
        fill(site)
        say("idle agent, share of a core in %", f"{100 * idle(site):.2f}")
        if url := os.environ.get("DURA_BENCH_SFTP"):
            links = pair(root / "sftp", make_site(root / "sftp", url), url)
            transfer(links, weights, kind="SFTP, weights", relay=None)


def say(name: str, value: str) -> None:
    print(f"{name}: {value}", flush=True)


def make_site(root: Path, relay: str) -> Site:
    root.mkdir(exist_ok=True)
    settings = make_settings(name="A", email=SITE, relay=relay)
    budget = Budget(epsilon=8.0, delta=1e-5)
    return Site.create(root / "site", settings, budget=budget, actor="owner")


def pair(root: Path, site: Site, relay: str) -> tuple[OwnerLink, ResearcherLink]:
    with contextlib.redirect_stdout(io.StringIO()):
        owner = OwnerLink(participant(site), lambda peer, code: say("refused", f"{peer} {code}"))
        who = Participant(RESEARCHER, relay, root / "box", root / "keys", is_site=False)
        researcher = ResearcherLink(who)
        researcher.request(SITE)
        owner.approve_peer(RESEARCHER, researcher.fingerprint)
        researcher.pin(SITE, owner.fingerprint)
        researcher.submit(site=SITE, job="job", files={"task.json": b"{}"})
        list(owner.fetch())
    return owner, researcher


def transfer(
    links: tuple[OwnerLink, ResearcherLink], data: bytes, *, kind: str, relay: Path | None
) -> None:
    owner, researcher = links
    name = f"{kind.rsplit(maxsplit=1)[-1]}.safetensors"
    before = held(relay)
    wall, cpu = time.perf_counter(), time.process_time()
    owner.publish(recipient=RESEARCHER, job="job", files={name: data})
    stored = held(relay) - before
    (delivery,) = researcher.collect()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert delivery.files[name] == data
    say(f"{kind}: release to verified of {len(data) / 1e6:.0f} MB, s", f"{wall:.2f}")
    say(f"{kind}: processor time, s", f"{cpu:.2f}")
    if relay is not None:
        say(f"{kind}: stored on the relay / released", f"{stored / len(data):.3f}")
        say(f"{kind}: left on the relay when consumed, bytes", str(held(relay) - before))


def held(relay: Path | None) -> int:
    files = relay.rglob("*") if relay is not None else ()
    return sum(path.stat().st_size for path in files if path.is_file())


def fill(site: Site) -> None:
    book = RequestStore(site)
    for number in range(REQUESTS):
        book.put(
            Request(
                id=f"request-{number:04}",
                job=f"job-{number:04}",
                sender=RESEARCHER,
                received="2026-01-01T00:00:00.000Z",
                state=RequestState.DONE,
                answer="{}",
                answered=True,
            )
        )


def idle(site: Site) -> float:
    """Share of a core that the agent uses once it stands."""
    command = [sys.executable, "-m", "orchestrator.cli", "site", "serve", str(site.root)]
    log = site.root / "serve.log"
    with log.open("wb") as file:
        agent = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        while b"serv" not in log.read_bytes():
            assert agent.poll() is None, log.read_text()
            time.sleep(0.2)
        time.sleep(15)  # its imports and first looks are not idling
        before, started = used_s(agent.pid), time.monotonic()
        time.sleep(IDLE_S)
        return (used_s(agent.pid) - before) / (time.monotonic() - started)
    finally:
        agent.terminate()
        agent.wait(30)


def used_s(pid: int) -> float:
    """Processor seconds of a process and its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
