"""The budget for bytes in flight, and the cutting of pieces."""

from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs import errors
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.loads import ByteBudget, Piece, assemble


async def test_budget_holds_back_what_does_not_fit(autojump_clock):
    """An amount above what is free waits until enough is released."""
    budget = ByteBudget(10)
    assert budget.acquire_nowait(7)
    assert not budget.acquire_nowait(4)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.acquire, 4)
        await trio.testing.wait_all_tasks_blocked()
        assert budget.used == 7
        budget.release(7)

    assert budget.used == 4


async def test_budget_is_first_come_first_served(autojump_clock):
    """A small amount that would fit does not overtake a large one that waits."""
    budget = ByteBudget(10)
    await budget.acquire(8)
    order: list[int] = []

    async def take(amount: int) -> None:
        await budget.acquire(amount)
        order.append(amount)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, 10)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(take, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert not budget.acquire_nowait(1)
        budget.release(8)
        await trio.testing.wait_all_tasks_blocked()
        assert order == [10]
        budget.release(10)

    assert order == [10, 1]
    assert budget.used == 1


async def test_budget_lets_a_giant_go_alone(autojump_clock):
    """An amount above the whole budget is granted when nothing else is in flight."""
    budget = ByteBudget(10)

    await budget.acquire(25)

    assert not budget.acquire_nowait(1)
    budget.release(25)
    assert budget.used == 0


async def test_budget_survives_cancelled_waiters(autojump_clock):
    """A cancelled waiter takes nothing and no longer stands in the way of the next one."""
    budget = ByteBudget(10)
    await budget.acquire(6)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await budget.acquire(9)
        nursery.start_soon(budget.acquire, 4)
        await trio.testing.wait_all_tasks_blocked()
        assert budget.used == 10

    budget.release(10)
    assert budget.used == 0


async def test_budget_returns_what_was_granted_to_a_cancelled_waiter(autojump_clock):
    """A grant and a cancellation that meet leave nothing taken."""
    budget = ByteBudget(10)
    await budget.acquire(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.acquire, 5)
        await trio.testing.wait_all_tasks_blocked()
        budget.release(10)
        nursery.cancel_scope.cancel()

    # trio may deliver either first; both end with a sum that fits what was taken.
    assert budget.used in {0, 5}
    budget.release(budget.used)
    assert budget.acquire_nowait(10)


async def test_acquire_is_a_checkpoint(autojump_clock):
    """A cancelled task does not get an amount even if it is free."""
    budget = ByteBudget(10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await budget.acquire(1)

    assert scope.cancelled_caught
    assert budget.used == 0


@settings(deadline=None)
@given(
    cuts=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    start=st.integers(0, 200),
    length=st.integers(1, 200),
    seed=st.randoms(),
)
def test_assemble_gives_the_window_or_fails(cuts, start, length, seed):
    """Whatever the pieces and their order: the exact bytes, or an error if some are missing."""
    content = bytes(range(200))
    edges = sorted({0, 200, *cuts})
    pieces = [Piece(a, content[a:b]) for a, b in pairwise(edges)]
    seed.shuffle(pieces)
    window = ByteRange(start, start + length)

    if window.stop <= 200:
        assert assemble(pieces, window) == content[start : window.stop]
    else:
        with pytest.raises(errors.IntegrityError):
            assemble(pieces, window)


def test_assemble_notices_a_gap():
    """Pieces that leave a hole in the window are refused."""
    with pytest.raises(errors.IntegrityError, match="do not cover"):
        assemble([Piece(0, b"ab"), Piece(3, b"d")], ByteRange(0, 4))
