"""One change of a file at a time."""

import pytest
import trio
import trio.testing

from azfilesfs.vfs.turns import Locked


async def test_a_free_lock_is_taken_without_a_checkpoint():
    """Nobody runs between asking for a free lock and having it, or after giving it back."""
    lock = trio.Lock()
    with trio.testing.assert_no_checkpoints():
        async with Locked(lock):
            assert lock.locked()
    assert not lock.locked()


async def test_who_comes_first_goes_first():
    """Waiters get the lock in the order in which they came, and one who gives up gets none."""
    lock, order = trio.Lock(), []
    scopes = {name: trio.CancelScope() for name in "abcd"}

    async def change(name: str) -> None:
        with scopes[name]:
            async with Locked(lock):
                order.append(name)
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery, Locked(lock):
        for name in scopes:
            nursery.start_soon(change, name)
            await trio.testing.wait_all_tasks_blocked()
        scopes["b"].cancel()

    assert order == ["a", "c", "d"]
    assert not lock.locked()


async def test_an_error_gives_the_lock_back():
    """What is raised inside passes through, and the lock is free."""
    lock = trio.Lock()
    with pytest.raises(OSError, match="full"):
        async with Locked(lock):
            raise OSError("full")
    assert not lock.locked()
