"""The bytes of a batch, a reservation that is asked for, and any JSON."""

from collections.abc import Callable

from hypothesis import strategies as st

from privacy.accounting.events import gaussian
from privacy.accounting.mechanisms import describe
from privacy.ledger.chain import entry_line, seal_line
from privacy.ledger.ledger import Ledger
from privacy.ledger.read import read_file
from privacy.signing.canonical import sha256_hex
from privacy.signing.keys import SigningKey
from privacy.spending.account import Account
from privacy.spending.entries import Entry
from privacy.spending.payloads import Reservation
from privacy.spending.spend import reserve

Note = Callable[..., Entry]

NOON = "2026-11-23T12:00:00Z"

ROUND = gaussian(noise_multiplier=1.5)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=15,
)


def batch(
    ledger: Ledger, key: SigningKey, *entries: Entry, sealer: SigningKey | None = None
) -> bytes:
    """The bytes that appending these entries would write."""
    last = len(list(read_file(ledger.path, public_hex=key.public_hex)))
    link = sha256_hex(ledger.path.read_bytes().splitlines()[-1])
    lines = []
    for number, entry in enumerate(entries):
        line, link = entry_line(entry, sequence=last + number, previous=link)
        lines.append(line)
    sealed, _ = seal_line(sequence=last + len(entries) - 1, head=link, key=sealer or key)
    return b"".join([*lines, sealed])


def asking(name: str) -> Callable[[Account], Entry]:
    wanted = Reservation(
        reservation=name,
        event=ROUND,
        mechanisms=describe(ROUND, clip_norm=1.0, published_units=100.0),
        researcher="r@x.org",
        study="brain",
        dataset_version="data",
        code_sha256="code",
        request="train/1",
    )
    return lambda account: reserve(account, wanted, time=NOON, actor="agent")
