"""The window that the service narrows, and the rates, under a clock of the test's own."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client.rates import TokenBucket, Window


def test_a_busy_service_halves_the_window_once_a_round_trip():
    """All refusals of requests that were sent before the cut are the same news."""
    window = Window(32)

    for _ in range(20):
        window.throttled(began=1.0, now=2.0)
    once = window.size
    window.throttled(began=2.5, now=3.0)

    assert (once, window.size) == (16, 8)


def test_the_window_grows_by_one_with_each_whole_window_of_answers():
    """It comes back slowly, and ends at the limit."""
    window = Window(8)
    window.throttled(began=0.0, now=1.0)

    grown = []
    for _ in range(60):
        window.answered(in_flight=window.size)
        grown.append(window.size)

    assert grown[:4] == [4, 4, 4, 4]
    assert grown[4] == 5
    assert max(later - earlier for earlier, later in pairwise(grown)) == 1
    assert grown[-1] == 8


def test_a_window_that_is_not_used_does_not_grow():
    """One request at a time has not shown that the service bears sixteen."""
    window = Window(32)
    window.throttled(began=0.0, now=1.0)

    for _ in range(10_000):
        window.answered(in_flight=1)

    assert window.size == 16


@given(
    limit=st.integers(1, 64),
    events=st.lists(st.tuples(st.booleans(), st.integers(0, 100), st.floats(0, 10)), max_size=200),
)
def test_the_window_keeps_its_bounds(limit, events):
    """Whatever the service says, there is room for one request and never for more than allowed."""
    window, now = Window(limit), 0.0
    for is_answer, number, step in events:
        now += step
        if is_answer:
            window.answered(in_flight=number)
        else:
            window.throttled(began=now - number / 10, now=now)
        assert 1 <= window.size <= limit


@given(
    rate=st.floats(1, 1e8),
    wants=st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 5)), min_size=1, max_size=100),
)
def test_a_rate_is_kept(rate, wants):
    """In no period is more taken than its length times the rate, half a second's worth, and one
    take.
    """
    bucket, now = TokenBucket(rate), 1000.0
    taken: list[tuple[float, float]] = []
    for amount, step in wants:
        now = max(now + step, bucket.ready_at(now + step))
        assert bucket.is_ready(now)
        bucket.take(amount, now)
        taken.append((now, amount))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            amounts = [amount for _, amount in taken[first : last + 1]]
            period = taken[last][0] - taken[first][0]
            allowed = (period + 0.5) * rate + max(amounts)
            assert sum(amounts) <= allowed * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize("rate", [0.5, 3.0, 1e9])
def test_what_was_not_needed_is_given_back(rate):
    """A take that was too large does not slow down the next one, nor fill beyond full."""
    bucket = TokenBucket(rate)
    bucket.take(rate * 100, 0.0)
    late = bucket.ready_at(0.0)
    bucket.take(-rate * 100, 0.0)
    bucket.take(-rate * 100, 0.0)

    assert late == pytest.approx(99.5)
    assert bucket.ready_at(0.0) == 0.0
    bucket.take(rate, 0.0)
    assert bucket.ready_at(0.0) == pytest.approx(0.5)
