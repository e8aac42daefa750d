"""What the tests of messages send, and where they look."""

import json

from datasites.syftnet import wire
from tests.syftnetkit import ANN, A


def send(net, data, *, sender=ANN, site=A):
    """A container around `data`, signed and encrypted by the sender."""
    return net.put(
        net.seal(wire.pack(data), sender=sender, recipient=site), site=site, researcher=sender
    )


def datasite(net, site):
    return net.participant(site).syftbox / site


def waiting(net):
    return list(net.relay.glob("channels/*/*/*/[!.]*"))


def tree(folder):
    return {str(path) for path in folder.rglob("*") if path.is_file()}


def answer(net, *, site=A, signer=None, **changes):
    """A message of released files as a hostile site could make it; placed in `site`'s outbox."""
    path = changes.get("path_in_datasite", f"app_data/job/review/{ANN}/v1/job/outputs/out.bin")
    files = {path: changes.pop("data", b"data")}
    signer = signer or site
    link = net.links[signer]
    before = set(net.outbox(signer, ANN).iterdir())
    link._send(ANN, files)
    (made,) = set(net.outbox(signer, ANN).iterdir()) - before
    sealed = net.links[ANN]._peers.peer_store.decrypt(signer, made.read_bytes())
    message = json.loads(wire.unpack(sealed))
    message["events"][0].update(changes)
    made.unlink()
    forged = net.seal(wire.pack(json.dumps(message).encode()), sender=signer, recipient=ANN)
    (net.outbox(site, ANN) / made.name).write_bytes(forged)


def asked(net, job, *sites):
    """Sites answer only what was submitted to them, so submit it, and let them take it."""
    for site in sites:
        net.links[ANN].submit(site=site, job=job, files={})
        net.fetch(site)
