"""Memory that was freed: reused while there is work, given back at rest."""

import ctypes

import trio

from azfilesfs.cache import BlockCache
from azfilesfs.daemon.allocator import Allocator, trimmed_at_rest
from azfilesfs.model.limits import MIB


class FakeAllocator(Allocator):
    """Counts, and leaves the test's own process alone."""

    def trim(self) -> None:
        self.trims += 1


async def test_memory_is_given_back_once_after_work(tmp_path, autojump_clock):
    """While there is work, and when there was none, nothing is trimmed; after work, once."""
    allocator, used = FakeAllocator(), 0.0
    async with (
        BlockCache.open(tmp_path / "c", limit_bytes=0, memory_bytes=MIB) as cache,
        trimmed_at_rest(cache, allocator, lambda: used),
    ):
        await trio.sleep(100)
        assert allocator.trims == 0
        for _ in range(100):
            used += 1.0
            await trio.sleep(1)
        assert allocator.trims == 0
        await trio.sleep(100)
        assert allocator.trims == 1
        for _ in range(20):
            used += 0.1
            await trio.sleep(10)
        assert 2 <= allocator.trims <= 5


async def test_idle_buffers_go_too(tmp_path, autojump_clock):
    """At rest the cache keeps no buffers for later."""
    used = 0.0
    async with BlockCache.open(tmp_path / "c", limit_bytes=0, memory_bytes=128 * MIB) as cache:
        cache._pool.take(4 * MIB)
        assert cache.statistics().buffer_bytes == 4 * MIB
        async with trimmed_at_rest(cache, FakeAllocator(), lambda: used):
            used = 1.0
            await trio.sleep(60)
        assert cache.statistics().buffer_bytes == 0


def test_the_c_library_takes_the_settings():
    """Where it is glibc the settings are taken, elsewhere nothing is done."""
    is_glibc = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

    assert Allocator().tune() == is_glibc
