"""Pairing: only the key that two people compared is ever believed, on both sides.

The relay's operator may swap any published key, at any time; strangers may publish anything.
Keys, peers and pins stay on local disk, for their owner only.
"""

import json
import stat

import pytest

from datasites.errors import PeerKeyError, RelayError
from datasites.syftnet.fingerprint import bundle_fingerprint, parse_bundle
from tests.syftnetkit import ANN, BOB, A, B

EVE = "eve@elsewhere.example"


def published(net, owner, reader):
    return net.relay / "pub" / owner / "bundles" / f"{reader}.json"


def swap(net, owner, reader, other):
    """The relay's operator replaces the key that `owner` published by `other`'s."""
    path = published(net, owner, reader)
    path.parent.mkdir(parents=True, exist_ok=True)
    bundle = net.links[other]._peers.peer_store.get_public_bundle()
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, "public_encryption_bundle": bundle}))


def test_both_sides_know_each_other_by_fingerprint(net):
    assert net.links[A].paired() == {
        ANN: net.links[ANN].fingerprint,
        BOB: net.links[BOB].fingerprint,
    }
    assert net.links[ANN].pinned() == {A: net.links[A].fingerprint, B: net.links[B].fingerprint}
    assert len({link.fingerprint for link in net.links.values()}) == 4


def test_a_fingerprint_is_eight_groups_of_four_and_survives_a_restart(net):
    before = net.links[A].fingerprint
    assert [len(group) for group in before.split("-")] == [4] * 8
    assert net.join(A).fingerprint == before
    assert net.links[A].paired()[ANN] == net.links[ANN].fingerprint


def test_a_key_swapped_before_the_site_approves_is_refused(new_net):
    eve = new_net.join(EVE)
    new_net.links[BOB].request(B)
    swap(new_net, BOB, B, EVE)
    (request,) = new_net.links[B].pending_peers()
    assert (request.email, request.fingerprint) == (BOB, eve.fingerprint)
    with pytest.raises(PeerKeyError, match="somebody may have swapped it"):
        new_net.links[B].approve_peer(BOB, new_net.links[BOB].fingerprint)
    assert BOB not in new_net.links[B].paired()


def test_a_swapped_key_that_the_site_saw_first_is_not_the_one_it_pairs_with(new_net):
    new_net.join(EVE)
    new_net.links[BOB].request(B)
    good = published(new_net, BOB, B).read_bytes()
    swap(new_net, BOB, B, EVE)
    assert len(new_net.links[B].pending_peers()) == 1
    assert new_net.fetch(B) == []  # loads the peers, with the swapped key
    published(new_net, BOB, B).write_bytes(good)
    new_net.links[B].approve_peer(BOB, new_net.links[BOB].fingerprint)
    assert new_net.links[B].paired()[BOB] == new_net.links[BOB].fingerprint
    new_net.links[BOB].pin(B, new_net.links[B].fingerprint)
    new_net.links[BOB].submit(site=B, job="job", files={})
    assert [job.sender for job in new_net.fetch(B)] == [BOB]


def test_a_key_swapped_before_the_researcher_pins_is_refused(new_net):
    new_net.links[BOB].request(B)
    new_net.links[B].approve_peer(BOB, new_net.links[BOB].fingerprint)
    swap(new_net, B, BOB, A)
    assert new_net.links[BOB].site_fingerprint(B) == new_net.links[A].fingerprint
    with pytest.raises(PeerKeyError, match="compare again by telephone"):
        new_net.links[BOB].pin(B, new_net.links[B].fingerprint)
    with pytest.raises(PeerKeyError, match="not paired"):
        new_net.links[BOB].submit(site=B, job="job", files={})


def test_a_key_swapped_after_pairing_changes_nothing(new_net):
    new_net.join(EVE)
    swap(new_net, ANN, A, EVE)
    swap(new_net, A, ANN, EVE)
    for email in (A, ANN):  # and not after a restart either
        new_net.join(email)
    assert new_net.links[A].paired()[ANN] == new_net.links[ANN].fingerprint
    new_net.links[ANN].submit(site=A, job="job", files={"task.json": b"{}"})
    (job,) = new_net.fetch(A)
    assert job.files["task.json"] == b"{}"
    new_net.links[EVE].request(A)
    forged = new_net.links[EVE]._peers.peer_store
    forged.set_peer_bundle(A, new_net.links[A]._peers.peer_store.get_public_bundle())
    new_net.put(forged.encrypt(A, b"anything"))
    assert new_net.fetch(A) == []
    assert new_net.refused == [(ANN, "bad_signature")]


def test_a_researcher_whose_pinned_key_was_changed_on_disk_sends_nothing(new_net):
    pins = new_net.participant(ANN).own_folder / "pinned.json"
    pins.write_text(json.dumps({A: new_net.links[B].fingerprint}))
    with pytest.raises(PeerKeyError, match="not the pinned one"):
        new_net.links[ANN].submit(site=A, job="job", files={})
    with pytest.raises(PeerKeyError, match="not the pinned one"):
        new_net.links[ANN].collect()
    assert not [path for path in new_net.inbox(A, ANN).iterdir() if path.name != ".keep"]


def test_a_site_that_did_not_answer_cannot_be_pinned(new_net):
    new_net.links[BOB].request(B)
    with pytest.raises(PeerKeyError, match="no key for us yet"):
        new_net.links[BOB].pin(B, new_net.links[B].fingerprint)
    with pytest.raises(PeerKeyError, match="no key for us yet"):
        new_net.links[BOB].site_fingerprint(B)


def test_who_never_asked_or_was_decided_is_not_approved(new_net):
    with pytest.raises(PeerKeyError, match="no key for us yet"):
        new_net.links[B].approve_peer(BOB, new_net.links[BOB].fingerprint)
    with pytest.raises(PeerKeyError, match="decided already"):
        new_net.links[A].approve_peer(BOB, new_net.links[BOB].fingerprint)


def test_asking_again_is_harmless(net):
    net.links[ANN].request(A)
    assert net.links[A].pending_peers() == []
    assert ANN in net.links[A].paired()


def test_strangers_with_unreadable_keys_hide_nobody_and_stop_nothing(new_net):
    odd = {
        "nokey@x.example": None,
        "garbage@x.example": b"\xff\xfe garbage",
        "list@x.example": b"[1]",
        "text@x.example": b'{"public_encryption_bundle": "text"}',
        "empty@x.example": b'{"public_encryption_bundle": {}}',
        "deep@x.example": b"[" * 60_000,
        "long@x.example": b'{"a": "' + b"x" * 200_000 + b'"}',
        "not an e-mail": b"{}",
    }
    for email, data in odd.items():
        new_net.inbox(B, email).mkdir(parents=True)
        if data is not None:
            path = published(new_net, email, B)
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            path.parents[1].joinpath("SYFT_version.json").write_bytes(data)
    folder = published(new_net, "folder@x.example", B)
    folder.mkdir(parents=True)
    new_net.inbox(B, "folder@x.example").mkdir()
    new_net.links[BOB].request(B)
    site = new_net.join(B)
    assert [request.email for request in site.pending_peers()] == [BOB]
    new_net.links[ANN].submit(site=B, job="job", files={})
    assert [job.sender for job in new_net.fetch(B)] == [ANN]


def test_a_job_of_somebody_who_is_not_paired_is_never_read(new_net):
    new_net.links[BOB].request(B)
    new_net.put(b"anything", site=B, researcher=BOB)
    assert new_net.fetch(B) == []
    assert new_net.refused == []


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"public_encryption_bundle": 1}'])
def test_only_a_key_bundle_is_parsed_as_one(text):
    with pytest.raises(PeerKeyError):
        parse_bundle(text, email=A)


def test_only_a_key_bundle_has_a_fingerprint():
    with pytest.raises(PeerKeyError, match="not a syft key bundle"):
        bundle_fingerprint({"id": "did:nothing"})


def test_keys_peers_and_pins_are_the_owners_only_and_never_on_the_relay(net):
    secrets = set()
    for email in (A, B, ANN, BOB):
        own = net.participant(email).own_folder
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        files = [path for path in own.rglob("*") if path.is_file()]
        assert {"syft_keys.json", "SYFT_peers.json"} <= {path.name for path in files}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        secrets |= set(strings(json.loads((own / "syft_keys.json").read_text())))
    public = {
        text
        for path in net.relay.rglob("bundles/*.json")
        for text in strings(json.loads(path.read_text()))
    }
    private = {text for text in secrets - public if len(text) >= 40}
    assert len(private) >= 4
    for path in net.relay.rglob("*"):
        assert path.name not in ("syft_keys.json", "SYFT_peers.json", "pinned.json")
        if path.is_file():
            data = path.read_bytes()
            assert not any(text.encode() in data for text in private)


def strings(value):
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def test_nobody_joins_a_relay_that_is_not_there(net, tmp_path):
    lost = type(net)(tmp_path)
    for email in (A, ANN):
        with pytest.raises(RelayError, match="is not there"):
            lost.join(email)
    assert not lost.relay.exists()
