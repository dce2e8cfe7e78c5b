"""Latency that is as long as it says."""

import os
from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from azfilesfs.emulator.network import Network, NetworkSettings
from azfilesfs.emulator.timers import Timers, kernel_timers


def _run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


@given(
    latency=st.floats(0.002, 0.1),
    waking=st.floats(0, 0.0004),
    making=st.floats(0, 0.0005),
)
def test_a_latency_lasts_as_long_as_it_says(latency: float, waking: float, making: float):
    """Waking up late and making the answer are part of it, once some requests have shown them."""

    async def main() -> None:
        network = Network()
        network.set(NetworkSettings(latency=latency))
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)

        async def sleep_until(deadline: float) -> None:
            await trio.sleep_until(deadline + waking)

        network.sleep_until = sleep_until
        taken = []
        for _ in range(80):
            started = trio.current_time()
            due = await network.receive(0)
            clock.jump(making)
            network.answered(due)
            taken.append(trio.current_time() - started)
        assert taken[0] == pytest.approx(latency + waking + making)
        assert taken[-1] == pytest.approx(latency, rel=0.005)

    _run(main)


@given(making=st.floats(0.002, 5.0))
def test_an_answer_that_takes_long_is_late(making: float):
    """A millisecond is all that a wait is cut by: work is not hidden."""

    async def main() -> None:
        network = Network()
        network.set(NetworkSettings(latency=0.005))
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        taken = 0.0
        for _ in range(40):
            started = trio.current_time()
            due = await network.receive(0)
            clock.jump(making)
            network.answered(due)
            taken = trio.current_time() - started
        assert taken == pytest.approx(0.005 - 0.001 + making)

    _run(main)


def test_without_a_latency_nothing_is_waited_for_or_learned():
    """No latency, no due time; a bandwidth alone has none either."""

    async def main() -> None:
        network = Network()
        assert await network.receive(0) is None
        network.set(NetworkSettings(mib_per_second=1.0))
        started = trio.current_time()
        assert await network.receive(1 << 20) is None
        await network.send(1 << 20)
        assert trio.current_time() - started == pytest.approx(2.0)
        network.answered(None)

    _run(main)


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def test_timers_end_at_the_deadline_and_are_reused():
    """No wait ends early, and timers serve again, also those whose wait was cancelled."""
    with kernel_timers() as timers:

        async def wait(seconds: float) -> None:
            deadline = trio.current_time() + seconds
            await timers.sleep_until(deadline)
            assert trio.current_time() >= deadline

        await wait(-1)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(wait, number / 1000)
        before = _descriptors()
        with trio.move_on_after(0.001) as scope:
            await wait(1000)
        assert scope.cancelled_caught
        for number in range(10):
            await wait(number / 1000)
        assert _descriptors() == before


async def test_many_timers_are_not_kept():
    """More than some dozens at once are closed again, and all of them at the end."""
    before = _descriptors()
    with kernel_timers() as timers:
        deadline = trio.current_time() + 0.02
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(timers.sleep_until, deadline)
        assert len(_descriptors() - before) <= 64
    assert _descriptors() == before


@pytest.mark.parametrize("how", ["none", "refused"])
async def test_without_timers_the_loop_waits(how: str, monkeypatch: pytest.MonkeyPatch):
    """A library without them, or a system that refuses one, costs precision only."""
    timers = Timers()
    if how == "none":
        monkeypatch.setattr(timers, "_is_known", False)
    else:

        def refuse() -> int:
            raise OSError("no descriptors left")

        monkeypatch.setattr(timers, "_make", refuse)
    deadline = trio.current_time() + 0.003
    await timers.sleep_until(deadline)
    assert trio.current_time() >= deadline
    timers.close()
