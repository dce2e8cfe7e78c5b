"""Buffers that come back by themselves."""

import ctypes
import mmap

from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.cache.buffers import BufferPool
from azfilesfs.model.limits import KIB, MIB


def test_a_buffer_comes_back_with_its_last_view():
    """As long as any slice is held the buffer is in use; then it is handed out again."""
    pool = BufferPool(16 * MIB)
    whole = pool.take(4 * MIB)
    whole[5:10] = b"mark!"
    part = whole[5:10].toreadonly()
    del whole
    assert pool.idle_bytes == 0
    assert bytes(part) == b"mark!"
    del part
    assert pool.idle_bytes == 4 * MIB

    again = pool.take(3 * MIB)
    assert (bytes(again[5:10]), pool.idle_bytes) == (b"mark!", 0)


def test_two_takers_never_share_a_buffer():
    """While one is in use another is handed out."""
    pool = BufferPool(16 * MIB)
    one, other = pool.take(MIB), pool.take(MIB)
    one[:] = b"1" * MIB
    other[:] = b"2" * MIB

    assert bytes(one) == b"1" * MIB


def test_no_more_waits_than_the_limit():
    """Buffers beyond it go back to the system, and all of them when they are trimmed."""
    pool = BufferPool(6 * MIB)
    taken = [pool.take(4 * MIB) for _ in range(3)]
    taken.clear()
    assert pool.idle_bytes == 4 * MIB
    pool.trim()

    assert pool.idle_bytes == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5 * MIB)), max_size=30))
def test_accounts_are_always_right(steps):
    """Whatever is taken and given back, in any order: lengths are right, the limit holds."""
    pool = BufferPool(8 * MIB)
    held: list[memoryview] = []
    for takes, length in steps:
        if takes:
            held.append(pool.take(length))
            assert len(held[-1]) == length
            assert held[-1].contiguous
        elif held:
            del held[length % len(held)]
        assert 0 <= pool.idle_bytes <= 8 * MIB
    held.clear()
    assert pool.idle_bytes <= 8 * MIB


def test_large_buffers_begin_at_a_page():
    """Copies into them are fast on every processor, and the disk can write into them."""
    pool = BufferPool(0)
    for length in (64 * KIB, MIB, 4 * MIB):
        view = pool.take(length)
        address = memory_address(view)
        assert address % mmap.PAGESIZE == 0


def memory_address(view: memoryview) -> int:
    """Return where a writable view begins."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
