"""A peer's allowance: a burst, a steady refill, debts, and nobody else's concern."""

from hypothesis import given
from hypothesis import strategies as st

from datasites.syftnet import allowance
from datasites.syftnet.allowance import Allowance


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 10**9)), max_size=200))
def test_nobody_exceeds_burst_and_refill_in_any_time(steps):
    shares, now, taken, size = Allowance(), 0.0, 0, 0
    for pause, size_bytes in steps:
        now += pause
        if shares.may("a", now_s=now):
            shares.spend("a", size_bytes=size_bytes, now_s=now)
            taken, size = taken + 1, size + size_bytes
    assert taken <= allowance.MESSAGES_BURST + allowance.MESSAGES_PER_S * now
    assert size <= allowance.BYTES_BURST + allowance.BYTES_PER_S * now + 10**9
    assert shares.may("b", now_s=now)


def test_a_bad_message_costs_ten_and_the_allowance_comes_back():
    shares, now = Allowance(), 0.0
    taken = 0
    while shares.may("a", now_s=now):
        shares.spend("a", size_bytes=1, now_s=now)
        shares.fine("a", now_s=now)
        taken += 1
    assert taken == allowance.MESSAGES_BURST / allowance.BAD_MESSAGE_COST
    later = now + allowance.MESSAGES_BURST / allowance.MESSAGES_PER_S
    assert shares.may("a", now_s=later)


def test_a_large_message_is_taken_and_leaves_a_debt():
    shares = Allowance()
    assert shares.may("a", now_s=0)
    shares.spend("a", size_bytes=int(2 * allowance.BYTES_BURST), now_s=0)
    assert not shares.may("a", now_s=1)
    assert shares.may("a", now_s=1 + allowance.BYTES_BURST / allowance.BYTES_PER_S + 1)
