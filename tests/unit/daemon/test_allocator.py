"""Memory that was freed: reused while there is work, given back at rest."""

import ctypes

import pytest
import trio
from trio.testing import MockClock

from azfilesfs.daemon.allocator import Allocator, trimmed_at_rest


class FakeAllocator(Allocator):
    """Counts, and leaves the test's own process alone."""

    def trim(self) -> None:
        self.trims += 1


async def test_memory_is_given_back_once_after_work(autojump_clock):
    """While there is work, and when there was none, nothing is trimmed; after work, once."""
    allocator, used = FakeAllocator(), 0.0
    async with trimmed_at_rest(allocator, lambda: used):
        await trio.sleep(100)
        assert allocator.trims == 0
        for _ in range(400):
            used += 0.25
            await trio.sleep(0.25)
        assert allocator.trims == 0
        await trio.sleep(100)
        assert allocator.trims == 1
        for _ in range(20):
            used += 0.1
            await trio.sleep(10)
        assert 2 <= allocator.trims <= 5


@pytest.mark.parametrize("begun", [0.0, 0.1, 0.45, 0.9])
async def test_memory_is_given_back_within_seconds(autojump_clock: MockClock, begun: float):
    """Two seconds after the last work it is done, whenever that was between two looks."""
    allocator, used = FakeAllocator(), 0.0
    async with trimmed_at_rest(allocator, lambda: used):
        await trio.sleep(begun)
        for _ in range(40):
            used += 0.1
            await trio.sleep(0.25)
        assert allocator.trims == 0
        used += 0.01
        await trio.sleep(2.1)
        assert allocator.trims == 1


async def test_a_mount_that_is_busy_with_little_keeps_its_memory(autojump_clock: MockClock):
    """A tenth of a processor all the time is work."""
    allocator, used = FakeAllocator(), 0.0
    async with trimmed_at_rest(allocator, lambda: used):
        for _ in range(2400):
            used += 0.025
            await trio.sleep(0.25)
        assert allocator.trims == 0


def test_the_c_library_takes_the_settings():
    """Where it is glibc the settings are taken, elsewhere nothing is done."""
    is_glibc = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

    assert Allocator().tune() == is_glibc
