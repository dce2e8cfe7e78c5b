"""The circuit breaker as a pure state machine, and the gate where callers wait for it."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.client.breaker import Breaker, BreakerPolicy, BreakerState, Outcome
from azfilesfs.client.gate import BreakerGate
from tests.unit.client.support import Recorder

POLICY = BreakerPolicy(failures=3, successes=2, reset_seconds=10)


def attempt(breaker: Breaker, outcome: Outcome, now: float = 0.0) -> None:
    """Admit an attempt and settle it."""
    ticket = breaker.admit(now)
    assert ticket is not None
    breaker.settle(ticket, outcome, now)


def opened() -> Breaker:
    """Return a breaker that has just opened at time 0."""
    breaker = Breaker(POLICY)
    for _ in range(3):
        attempt(breaker, Outcome.FAILURE)
    return breaker


def test_it_opens_after_failures_in_a_row():
    """The threshold counts failures in a row: a success begins anew, throttling does not."""
    breaker = Breaker(POLICY)

    for outcome in (Outcome.FAILURE, Outcome.FAILURE, Outcome.SUCCESS, Outcome.FAILURE):
        attempt(breaker, outcome)
    attempt(breaker, Outcome.FAILURE)
    attempt(breaker, Outcome.NEUTRAL)
    assert breaker.retry_at() is None
    attempt(breaker, Outcome.FAILURE)

    assert breaker.state is BreakerState.OPEN
    assert breaker.retry_at() == 10


def test_open_admits_nobody_until_the_reset():
    """While open nothing passes; at the reset time one probe does, and only one."""
    breaker = opened()

    assert breaker.admit(9.9) is None
    ticket = breaker.admit(10)
    assert ticket is not None
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit(10) is None
    assert breaker.retry_at() is None


def test_two_good_probes_close_it():
    """It closes after as many successes as the policy says."""
    breaker = opened()

    attempt(breaker, Outcome.SUCCESS, 10)
    half = breaker.state
    attempt(breaker, Outcome.SUCCESS, 11)

    assert half is BreakerState.HALF_OPEN
    assert breaker.state is BreakerState.CLOSED
    assert breaker.retry_at() is None


def test_a_bad_probe_opens_it_again():
    """A failed probe starts the reset time anew."""
    breaker = opened()

    attempt(breaker, Outcome.FAILURE, 12)

    assert breaker.state is BreakerState.OPEN
    assert breaker.retry_at() == 22


def test_an_abandoned_probe_makes_room():
    """A probe that was given up lets the next caller probe."""
    breaker = opened()

    attempt(breaker, Outcome.NEUTRAL, 10)

    assert breaker.admit(10) is not None


def test_late_outcomes_are_ignored():
    """What was admitted before the change of state neither closes nor opens it."""
    breaker = Breaker(POLICY)
    late = breaker.admit(0)
    assert late is not None
    for _ in range(3):
        attempt(breaker, Outcome.FAILURE)

    breaker.settle(late, Outcome.SUCCESS, 1)

    assert breaker.state is BreakerState.OPEN


def test_failures_that_concern_one_subject():
    """They count once in a row, other subjects beside it, and anew after a success."""
    breaker = Breaker(POLICY)

    def fail(subject: str) -> None:
        ticket = breaker.admit(0.0)
        assert ticket is not None
        breaker.settle(ticket, Outcome.FAILURE, 0.0, subject=subject)

    for _ in range(10):
        fail("slow")
    fail("other")
    states = [breaker.state]
    attempt(breaker, Outcome.SUCCESS)
    for subject in ("slow", "other", "third"):
        states.append(breaker.state)
        fail(subject)

    assert set(states) == {BreakerState.CLOSED}
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("bad", [{"failures": 0}, {"successes": 0}, {"reset_seconds": -1.0}])
def test_thresholds_are_checked(bad):
    """A breaker that could never open or close is refused."""
    with pytest.raises(ValueError, match="positive"):
        BreakerPolicy(**bad)


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "settle"]), st.sampled_from(Outcome), st.floats(0, 5)),
        max_size=60,
    )
)
def test_any_sequence_keeps_the_invariants(steps):
    """Whatever happens: at most one probe is out, and an open breaker can always be left."""
    breaker, tickets, now = Breaker(POLICY), [], 0.0
    for action, outcome, passed in steps:
        now += passed
        if action == "admit":
            before = breaker.state
            ticket = breaker.admit(now)
            if ticket is None:
                assert before is not BreakerState.CLOSED
            else:
                tickets.append(ticket)
        elif tickets:
            breaker.settle(tickets.pop(0), outcome, now)
        if breaker.state is BreakerState.HALF_OPEN:
            epochs = [ticket for ticket in tickets if ticket == breaker._epoch]
            assert len(epochs) == (1 if breaker._probing else 0)

    for ticket in tickets:
        breaker.settle(ticket, Outcome.NEUTRAL, now)
    assert breaker.admit(now + POLICY.reset_seconds) is not None


async def test_the_gate_waits_for_the_reset(autojump_clock):
    """A caller that comes while it is open waits until the probe is due."""
    recorder = Recorder()
    gate = BreakerGate(POLICY, recorder)
    for _ in range(3):
        gate.leave(await gate.enter(), Outcome.FAILURE)
    started = trio.current_time()

    ticket = await gate.enter()

    assert trio.current_time() - started == pytest.approx(10)
    gate.leave(ticket, Outcome.SUCCESS)
    gate.leave(await gate.enter(), Outcome.SUCCESS)
    assert recorder.states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_the_gate_lets_the_waiting_through_after_the_probes(autojump_clock):
    """Those who wait behind the probe go on once the breaker has closed."""
    gate = BreakerGate(POLICY, Recorder())
    for _ in range(3):
        gate.leave(await gate.enter(), Outcome.FAILURE)
    passed = []

    async def caller(number: int) -> None:
        ticket = await gate.enter()
        await trio.sleep(1)
        gate.leave(ticket, Outcome.SUCCESS)
        passed.append(trio.current_time())

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(caller, number)

    assert [round(moment - started) for moment in passed] == [11, 12, 13, 13, 13]


async def test_a_cancelled_waiter_leaves_nothing(autojump_clock):
    """A caller that gives up while waiting takes no ticket with it."""
    gate = BreakerGate(POLICY, Recorder())
    for _ in range(3):
        gate.leave(await gate.enter(), Outcome.FAILURE)

    with trio.move_on_after(5) as scope:
        await gate.enter()

    assert scope.cancelled_caught
    await gate.enter()
