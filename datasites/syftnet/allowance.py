"""How much one peer may ask of a site in a time: token buckets, one pair a peer. Pure.

A peer has an allowance of messages and of bytes that refills steadily up to a burst. What goes
beyond it is not refused but waits on the relay, so that an honest peer in a hurry loses nothing
and a hostile one costs the others nothing. A bad message costs ten good ones. A message larger
than what is left is taken and puts the peer into debt, or it could never be sent.

What no peer signed has an allowance of its own, one an inbox and `JUNK_TIMES` as large: whoever may
write to the relay can lay it there, and the peer whose inbox it is pays nothing for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MESSAGES_BURST = 120.0
MESSAGES_PER_S = 4.0
BYTES_BURST = 1024.0**3
BYTES_PER_S = 32 * 1024.0**2
BAD_MESSAGE_COST = 10.0
JUNK_TIMES = 10.0
"""Junk is cheaper than a message: it is read, and its signature is tried."""


@dataclass
class _Bucket:
    messages: float
    size_bytes: float
    at_s: float


@dataclass
class Allowance:
    """What every peer has left.

    Attributes:
        times: how many times as many messages as a peer's own allowance has.
    """

    times: float = 1.0
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def may(self, peer: str, *, now_s: float) -> bool:
        """Whether the next message of `peer` may be taken now.

        Args:
            peer: who sent it.
            now_s: monotonic seconds.
        """
        bucket = self._refilled(peer, now_s)
        return bucket.messages >= 1 and bucket.size_bytes > 0

    def spend(self, peer: str, *, size_bytes: int, now_s: float) -> None:
        """One message of this size was taken."""
        bucket = self._refilled(peer, now_s)
        bucket.messages -= 1
        bucket.size_bytes -= size_bytes

    def fine(self, peer: str, *, now_s: float) -> None:
        """The message just taken was bad."""
        self._refilled(peer, now_s).messages -= BAD_MESSAGE_COST - 1

    def _refilled(self, peer: str, now_s: float) -> _Bucket:
        burst, per_s = MESSAGES_BURST * self.times, MESSAGES_PER_S * self.times
        bucket = self._buckets.setdefault(peer, _Bucket(burst, BYTES_BURST, now_s))
        passed = max(0.0, now_s - bucket.at_s)
        bucket.messages = min(burst, bucket.messages + passed * per_s)
        bucket.size_bytes = min(BYTES_BURST, bucket.size_bytes + passed * BYTES_PER_S)
        bucket.at_s = now_s
        return bucket
