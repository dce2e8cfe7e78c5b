"""Memory that is used again: never while somebody looks at it, and given back on demand."""

import mmap
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from azfilesfs.model.buffers import BufferPool, is_page_aligned

LENGTH = 4 * mmap.PAGESIZE


class Lending(RuleBasedStateMachine):
    """Buffers are lent, looked at in parts, let go and trimmed; each has one user at a time."""

    def __init__(self):
        super().__init__()
        self.pool = BufferPool(LENGTH, most=3)
        self.lent: dict[int, memoryview] = {}
        self.count = 0

    @rule()
    def lend(self):
        """Take a buffer, fill it, and keep a read-only view of it."""
        self.count = self.count % 200 + 1
        view = self.pool.lend()
        assert (len(view), view.readonly) == (LENGTH, False)
        view[:] = bytes([self.count]) * LENGTH
        self.lent[self.count] = view.toreadonly()

    @rule(data=st.data(), start=st.integers(0, LENGTH - 1))
    def narrow(self, data, start):
        """A part of a view keeps its buffer as well."""
        if self.lent:
            key = data.draw(st.sampled_from(sorted(self.lent)))
            self.lent[key] = self.lent[key][start:] or self.lent[key]

    @rule(data=st.data())
    def let_go(self, data):
        """Forget one."""
        if self.lent:
            del self.lent[data.draw(st.sampled_from(sorted(self.lent)))]

    @rule(spared=st.integers(0, 3))
    def trim(self, spared):
        """Idle buffers go, the others stay."""
        before, in_use = len(self.pool), len(self.lent)
        self.pool.trim(spared)
        assert min(before, spared) <= len(self.pool) <= in_use + spared

    @invariant()
    def nobody_overwrites_what_others_see(self):
        """Each user sees what it put there."""
        for key, view in self.lent.items():
            assert bytes(view) == bytes([key]) * len(view)
        assert len(self.pool) <= 3


TestLending = Lending.TestCase


def test_buffer_comes_back():
    """One that nobody looks at is lent again, without a new one."""
    pool = BufferPool(LENGTH)
    first = pool.lend()
    first[:4] = b"mark"
    del first

    assert bytes(pool.lend()[:4]) == b"mark"
    assert len(pool) == 1


def test_more_than_the_most_are_used_once():
    """Beyond the limit there are buffers all the same; they are not kept."""
    pool = BufferPool(LENGTH, most=2)

    views = [pool.lend() for _ in range(5)]

    assert len({id(view.obj) for view in views}) == 5
    assert len(pool) == 2


def test_threads_get_different_buffers():
    """Several threads that lend at the same time never get the same one."""
    pool = BufferPool(LENGTH, most=8)

    def use(number: int) -> bool:
        view = pool.lend()
        view[:] = bytes([number % 251]) * LENGTH
        return bytes(view) == bytes([number % 251]) * LENGTH

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(4000)))


@pytest.mark.parametrize(
    ("data", "is_aligned"),
    [
        (BufferPool(LENGTH).lend(), True),
        (BufferPool(LENGTH).lend().toreadonly(), True),
        (BufferPool(LENGTH).lend()[1:], False),
        (BufferPool(LENGTH).lend()[: mmap.PAGESIZE], False),
        (BufferPool(LENGTH - 1).lend(), False),
        (memoryview(bytearray(LENGTH)), False),
        (bytes(LENGTH), False),
    ],
)
def test_alignment(data, is_aligned):
    """Whole buffers of whole pages count as aligned; of anything else it is not known."""
    assert is_page_aligned(data) is is_aligned
