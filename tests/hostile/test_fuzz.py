"""Hostile messages by the thousand, broken at every layer, to a hospital and to a researcher.

A message starts as a good one and is changed at random (seeded) in its JSON, its bytes, its tar
header, its gzip stream, its envelope, its sender, its recipient or its name. Whatever it has
become: no exception reaches the loop, everybody else's good message is served in the same step,
and nothing is written but job files and results where they may be.
"""

import gzip
import io
import json
import random
import re
import tarfile
import time

import pytest

from datasites.syftnet import wire
from tests.syftnetkit import ANN, BOB, A, B

BATCH = 100
PLAIN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
MAY_CHANGE = re.compile(
    rf"{re.escape(A)}/(keys/(quarantine|seen)/[^/]+"
    rf"|syftbox/{re.escape(A)}/app_data/job/(inbox/({ANN}|{BOB})/v1/{PLAIN}/"
    rf"(code/{PLAIN}|run\.sh|config\.yaml)|review/({ANN}|{BOB})/v1/{PLAIN}/state\.yaml))"
    rf"|{re.escape(ANN)}/(keys/seen/[^/]+|syftbox/({A}|{B})/(public/dura/card\.json"
    rf"|app_data/job/(inbox/{ANN}/v1/{PLAIN}/.*"
    rf"|review/{ANN}/v1/{PLAIN}/(state\.yaml|outputs/{PLAIN}))))"
    rf"|{re.escape(BOB)}/syftbox/{A}/app_data/job/inbox/{BOB}/v1/{PLAIN}/.*"
)

ODD = [
    None, True, -1, 0, 1e308, -0.0, float("nan"), float("inf"), 2**200, "", "x" * 5000, "\x00",
    "\ud800", "é" * 50, [], {}, [[]], {"a": {}}, "../../../etc/passwd", "/etc/passwd", A, B, BOB,
    "owner", "code/../../x", "~", "C:\\x", "a\nb", "%2e%2e/", "..", ".", "syft.pub.yaml", "1e999",
]  # fmt: skip
PIECES = [
    "app_data", "job", "inbox", "review", ANN, BOB, A, "v1", "v2", "code", "outputs", "..", ".", "",
    "run.sh", "config.yaml", "state.yaml", "syft.pub.yaml", "private", "public", "keys", "x", ".x",
    "a" * 300, "x\x00y", "x y", "é", "-rf", "card.json", "dura", "key.json",
]  # fmt: skip


class Mutator:
    """Seeded changes at every layer."""

    def __init__(self, rng):
        self.rng = rng

    def maybe(self, chance):
        return self.rng.random() < chance

    def path(self, good):
        match self.rng.randrange(5):
            case 0:
                return "/".join(self.rng.choices(PIECES, k=self.rng.randint(1, 9)))
            case 1:
                parts = good.split("/")
                parts[self.rng.randrange(len(parts))] = self.rng.choice(PIECES)
                return "/".join(parts)
            case 2:
                return self.rng.choice(["/", "//", "../", "./", ""]) + good
            case 3:
                return self.rng.choice(ODD)
        return good

    def fields(self, value):
        """A JSON value with some of it replaced, dropped, doubled or moved."""
        if isinstance(value, dict):
            made = {key: self.fields(inner) for key, inner in value.items() if not self.maybe(0.03)}
            if self.maybe(0.05):
                made[self.rng.choice([*PIECES, "is_deleted", "platform_id"])] = self.odd()
            return made
        if isinstance(value, list):
            made = [self.fields(inner) for inner in value]
            return made * self.rng.choice([1] * 20 + [0, 2, 70])
        return self.odd() if self.maybe(0.06) else value

    def odd(self):
        return self.rng.choice(ODD)

    def data(self, data):
        """Bytes with some flipped, cut, doubled or put in."""
        made = bytearray(data)
        for _ in range(self.rng.randint(1, 4)):
            at = self.rng.randrange(len(made) + 1)
            match self.rng.randrange(5):
                case 0 if made:
                    made[min(at, len(made) - 1)] ^= 1 << self.rng.randrange(8)
                case 1:
                    del made[at:]
                case 2:
                    made[at:at] = self.rng.randbytes(self.rng.randint(1, 40))
                case 3:
                    made += made[:at]
                case 4:
                    del made[at : at + self.rng.randint(1, 200)]
        return bytes(made)

    def container(self, payload):
        """syft's tar.gz, or one that tar or gzip would read in another way."""
        match self.rng.randrange(8):
            case 0:
                return gzip.compress(self.data(gzip.decompress(wire.pack(payload))), 1)
            case 1:
                return self.data(wire.pack(payload))
            case 2:
                return wire.pack(payload) + wire.pack(b"{}")
            case 3:
                return gzip.compress(bytes(self.rng.randint(0, 3_000_000)), 9)
            case 4:
                return self.tar(payload)
        return wire.pack(payload)

    def tar(self, payload):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
            for _ in range(self.rng.randint(1, 3)):
                info = tarfile.TarInfo(self.rng.choice(["proposed_file_changes.json", "../x", "x"]))
                info.type = self.rng.choice([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE])
                info.linkname = "/etc/passwd"
                info.size = len(payload) if info.type == tarfile.REGTYPE else 0
                info.pax_headers = {"path": "../../x"} if self.maybe(0.3) else {}
                archive.addfile(info, io.BytesIO(payload))
        return buffer.getvalue()


def changed(mutate, body):
    """The bytes of a message's JSON after changes to its values or to its text."""
    if mutate.maybe(0.7):
        body = mutate.fields(body)
    text = json.dumps(body).encode()
    return mutate.data(text) if mutate.maybe(0.15) else text


def to_site(net, mutate, number):
    job = f"f{number}" if mutate.maybe(0.7) else f"f{mutate.rng.randrange(number + 1)}"
    good = f"app_data/job/inbox/{ANN}/v1/{job}/code/task.json"
    files = [(good if mutate.maybe(0.6) else mutate.path(good), "{}")]
    if mutate.maybe(0.3):
        files.append((mutate.path(good), "x" * mutate.rng.choice([0, 1, 70_000])))
    sender = mutate.rng.choice([ANN] * 8 + [BOB, A, B, "", "ANN@university.example"])
    plain = changed(mutate, net.body(*files, sender=sender))
    signer = mutate.rng.choice([ANN] * 9 + [BOB])
    recipient = mutate.rng.choice([A] * 9 + [B]) if signer == ANN else A
    envelope = net.seal(mutate.container(plain), sender=signer, recipient=recipient)
    if mutate.maybe(0.15):
        envelope = mutate.data(envelope)
    path = net.put(envelope)
    if mutate.maybe(0.05):
        odd = mutate.rng.choice(["msgv2_nan_x", "msgv2_-1_x", "msgv2_1_", "x", "msgv2_1e999_x"])
        path.rename(path.with_name(f"{odd}{number}"))


def to_researcher(net, mutate, number):
    good = f"app_data/job/review/{ANN}/v1/asked/outputs/out{number}.bin"
    path = good if mutate.maybe(0.6) else mutate.path(good)
    event = {
        "id": "00000000-0000-0000-0000-000000000001",
        "path_in_datasite": path,
        "datasite_email": A if mutate.maybe(0.85) else mutate.rng.choice([B, ANN, ""]),
        "content": "data",
        "content_type": "text",
        "new_hash": "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7",
        "submitted_timestamp": time.time(),
        "timestamp": time.time(),
    }
    name = f"00000000-0000-0000-0000-{number:012d}"
    stamp = {"id": name, "timestamp": time.time(), "extension": ".tar.gz"}
    plain = changed(mutate, {"events": [event], "message_filepath": stamp})
    signer = A if mutate.maybe(0.9) else B
    envelope = net.seal(mutate.container(plain), sender=signer, recipient=ANN)
    if mutate.maybe(0.15):
        envelope = mutate.data(envelope)
    where = net.outbox(A) / f"syfteventsmessagev3_{1000 + number}.0_{name}.tar.gz"
    where.write_bytes(envelope)


def snapshot(root):
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not path.is_relative_to(root / "relay")
    }


def written_elsewhere(before, after):
    touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(name for name in touched if not MAY_CHANGE.fullmatch(name))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", ["site", "researcher"])
def test_nothing_that_a_peer_sends_breaks_delays_or_escapes(new_net, fuzz_messages, target):
    net = new_net
    net.links[ANN].submit(site=A, job="asked", files={})
    net.links[ANN].submit(site=B, job="asked", files={})
    for site in (A, B):
        assert [job.name for job in net.links[site].fetch()] == ["asked"]
    mutate = Mutator(random.Random(20260601))
    before, accepted, refused = snapshot(net.root), 0, 0
    for number in range(fuzz_messages // 2):
        (to_site if target == "site" else to_researcher)(net, mutate, number)
        if (number + 1) % BATCH and number + 1 != fuzz_messages // 2:
            continue
        good = f"good-{number}"
        if target == "site":
            net.links[BOB].submit(site=A, job=good, files={})
            got = [(job.sender, job.name) for job in net.links[A].fetch()]
            assert (BOB, good) in got
            accepted += len(got) - 1
        else:
            net.links[B].publish(recipient=ANN, job="asked", files={f"{good}.bin": b"x"})
            got = []
            while [path for path in net.outbox(A).iterdir() if path.name != ".keep"]:
                got += [one.files.keys() for one in net.links[ANN].collect()]
            assert {f"{good}.bin"} in got
            accepted += len(got) - 1
            refused += len(net.links[ANN].refused)
            net.links[ANN].refused.clear()
        refused += len(net.refused)
        net.refused.clear()
    assert written_elsewhere(before, snapshot(net.root)) == []
    # Neither is the mutator so wild that all is refused, nor so tame that all is taken.
    assert accepted > fuzz_messages // 50
    assert refused > fuzz_messages // 5
    assert accepted + refused <= fuzz_messages // 2
