"""Cycles of objects are looked for less often, and found all the same."""

import gc
import weakref

import pytest

from azfilesfs.daemon.collector import collecting_seldom


class Node:
    """Something that may hold itself."""

    def __init__(self) -> None:
        self.itself = self


def test_settings_hold_while_the_block_runs():
    """What was there is not looked at meanwhile; afterwards everything is as before."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(KeyError), collecting_seldom():
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 1000
        assert gc.get_threshold()[1:] == before[1:]
        assert gc.get_freeze_count() > 1000
        raise KeyError
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, frozen)


def test_many_requests_in_flight_are_not_looked_at():
    """What 256 requests hold at once, and give back, starts no look; what is kept does."""
    looks = 0

    def count(phase: str, info: dict[str, int]) -> None:
        nonlocal looks
        looks += phase == "start"

    with collecting_seldom():
        gc.callbacks.append(count)
        try:
            for _ in range(20):
                in_flight = [[number] for number in range(256 * 11)]
                in_flight.clear()
            assert looks == 0
            kept = [[number] for number in range(20_000)]
            assert looks >= 2
        finally:
            gc.callbacks.remove(count)
    assert len(kept) == 20_000


def test_a_cycle_is_freed():
    """An object that holds itself goes with one of the next looks."""
    with collecting_seldom():
        gone = weakref.ref(Node())
        kept = [[number] for number in range(20_000)]
        assert gone() is None
    assert len(kept) == 20_000
