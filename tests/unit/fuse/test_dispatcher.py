"""The dispatcher over a table that only remembers: one answer a request, whatever happens."""

import errno
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from azfilesfs.fuse.dispatcher import Dispatcher
from azfilesfs.fuse.guard import Deadlines, Guard
from azfilesfs.fuse.requests import (
    AllocateRequest,
    AnyRequest,
    CopyRequest,
    FlockRequest,
    GetLockRequest,
    Handlers,
    HeldLock,
    Interrupt,
    SeekRequest,
    SetLockRequest,
)
from azfilesfs.vfs.errors import VfsError

HELD = HeldLock(fcntl.F_WRLCK, 1, 2, 3)


class Table:
    """Stands for the operation table: messages in, answers out."""

    def __init__(self) -> None:
        """Start with nothing, and a pipe in place of the eventfd."""
        self.wake_fd, self._raise = os.pipe()
        self._messages: list[Any] = []
        self.answers: dict[int, object] = {}
        self.stopped = False

    def send(self, *messages: AnyRequest | Interrupt) -> None:
        """Let messages arrive together."""
        self._messages += messages
        os.write(self._raise, b"x")

    def take(self) -> list[Any]:
        """Give out what arrived."""
        os.read(self.wake_fd, 100)
        taken, self._messages = self._messages, []
        return taken

    def _answer(self, token: int, answer: object) -> int:
        assert token not in self.answers, "answered twice"
        assert not self.stopped
        self.answers[token] = answer
        return 0

    reply_error = reply_lock = reply_count = reply_offset = _answer

    def stop(self, number: int) -> None:
        """Close."""
        self.stopped = True
        os.close(self.wake_fd)
        os.close(self._raise)


def make(kind: type, token: int, **facts: Any) -> Any:
    """Make a request."""
    return kind(token=token, inode=5, handle=6, owner=7, pid=8, uid=9, gid=10, **facts)


def flock(token: int, operation: int = fcntl.LOCK_EX, blocking: bool = True) -> FlockRequest:
    """Make a request for a flock."""
    made: FlockRequest = make(FlockRequest, token, operation=operation, blocking=blocking)
    return made


@asynccontextmanager
async def dispatching(
    handlers: Handlers, measured: list[tuple[str, int]] | None = None
) -> AsyncIterator[tuple[Table, Dispatcher]]:
    """Run a dispatcher in the background, and end it by a cancellation."""
    table = Table()
    seen = measured if measured is not None else []
    guard = Guard(Deadlines(5, 50), lambda name, _, number: seen.append((name, number)))
    stand_in: Any = table
    dispatcher = Dispatcher(stand_in, handlers, guard)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dispatcher.run)
        yield table, dispatcher
        nursery.cancel_scope.cancel()
    assert table.stopped
    assert dispatcher.unanswered == 0


async def settle(table: Table, count: int) -> None:
    """Wait until so many requests were answered."""
    with trio.fail_after(20):
        while len(table.answers) < count:
            await trio.lowlevel.checkpoint()


def answering(answer: object) -> Callable[[Any], Awaitable[Any]]:
    """Make a handler that answers so, or raises it."""

    async def handler(request: object) -> object:
        await trio.lowlevel.checkpoint()
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


def all_answering(answers: dict[str, object]) -> Handlers:
    """Make handlers by name."""
    made: dict[str, Any] = {name: answering(answer) for name, answer in answers.items()}
    return Handlers(**made)


REQUESTS = [
    flock(1),
    make(SetLockRequest, 2, type=fcntl.F_WRLCK, start=0, length=0, blocking=False),
    make(GetLockRequest, 3, type=fcntl.F_RDLCK, start=0, length=0),
    make(AllocateRequest, 4, mode=0, offset=0, length=1),
    make(SeekRequest, 5, offset=0, whence=os.SEEK_HOLE),
    make(
        CopyRequest,
        6,
        offset=0,
        length=9,
        target_inode=1,
        target_handle=2,
        target_offset=3,
        flags=0,
    ),
]
ANSWERS: dict[str, object] = {
    "flock": None,
    "setlk": None,
    "getlk": HELD,
    "fallocate": None,
    "lseek": 4096,
    "copy_file_range": 9,
}


async def test_each_request_gets_its_kind_of_answer():
    """Success, a lock, an offset and a count go back as the operation wants them."""
    measured: list[tuple[str, int]] = []
    async with dispatching(all_answering(ANSWERS), measured) as (table, _):
        table.send(*REQUESTS)
        await settle(table, 6)

    assert table.answers == {1: 0, 2: 0, 3: HELD, 4: 0, 5: 4096, 6: 9}
    names = {name for name, number in measured if not number}
    assert names == {"flock_wait", "setlk", "getlk", "fallocate", "lseek", "copy_file_range"}


async def test_failures_become_errnos():
    """What a handler raises, and what has no handler, is answered with an errno."""
    handlers = all_answering({"flock": VfsError(errno.ENOLCK), "lseek": VfsError(errno.ENXIO)})
    async with dispatching(handlers) as (table, _):
        table.send(*REQUESTS)
        await settle(table, 6)

    assert table.answers == {1: errno.ENOLCK, 5: errno.ENXIO} | dict.fromkeys(
        (2, 3, 4, 6), errno.ENOSYS
    )


@pytest.mark.expect_log("unexpected failure")
async def test_defects_become_eio():
    """A handler that raises anything, or answers nonsense, costs its own request an EIO."""
    handlers = all_answering({"flock": KeyError("a defect"), "lseek": None})
    async with dispatching(handlers) as (table, _):
        table.send(REQUESTS[0], REQUESTS[4])
        await settle(table, 2)

    assert table.answers == {1: errno.EIO, 5: errno.EIO}


class Gate:
    """A handler that waits to be let through, and says how it went."""

    def __init__(self) -> None:
        """Start closed."""
        self.open = trio.Event()
        self.outcomes: list[str] = []

    async def __call__(self, request: object) -> None:
        """Wait."""
        try:
            await self.open.wait()
            self.outcomes.append("done")
        except trio.Cancelled:
            self.outcomes.append("cancelled")
            raise


async def test_a_wait_has_no_deadline_and_an_attempt_has(mock_clock):
    """A blocking lock waits on; a request that does not wait ends by the deadline of operations."""
    gate = Gate()
    async with dispatching(Handlers(flock=gate)) as (table, dispatcher):
        table.send(flock(1))
        while not dispatcher.unanswered:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1e6)
        await trio.testing.wait_all_tasks_blocked()
        assert table.answers == {}
        gate.open.set()
        await settle(table, 1)

    assert table.answers == {1: 0}


@pytest.mark.expect_log("ETIMEDOUT")
async def test_an_attempt_has_a_deadline(mock_clock):
    """A LOCK_NB that is not answered in time ends with ETIMEDOUT."""
    async with dispatching(Handlers(flock=Gate())) as (table, dispatcher):
        table.send(flock(1, blocking=False))
        while not dispatcher.unanswered:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(6)
        await settle(table, 1)

    assert table.answers == {1: errno.ETIMEDOUT}


@pytest.mark.parametrize("together", [True, False])
async def test_an_interrupt_cancels_its_waiter_only(together: bool):
    """An interrupt ends its own request with EINTR, also when both arrive in one go."""
    gate = Gate()
    async with dispatching(Handlers(flock=gate)) as (table, dispatcher):
        if together:
            table.send(flock(1), flock(2), Interrupt(1))
        else:
            table.send(flock(1), flock(2))
            while dispatcher.unanswered < 2:
                await trio.lowlevel.checkpoint()
            table.send(Interrupt(1))
        await settle(table, 1)
        assert table.answers == {1: errno.EINTR}
        gate.open.set()
        await settle(table, 2)
        table.send(Interrupt(2), flock(3))  # too late for the second: nobody waits any more
        await settle(table, 3)

    assert table.answers == {1: errno.EINTR, 2: 0, 3: 0}
    assert gate.outcomes == ["cancelled", "done", "done"]


async def test_giving_up_a_lock_is_never_interrupted():
    """A signal does not keep an unlock from happening."""
    gate = Gate()
    unlock = make(SetLockRequest, 2, type=fcntl.F_UNLCK, start=0, length=0, blocking=True)
    handlers = Handlers(flock=gate, setlk=gate, getlk=answering(HELD))
    async with dispatching(handlers) as (table, dispatcher):
        table.send(flock(1, operation=fcntl.LOCK_UN), unlock, Interrupt(1), Interrupt(2))
        while dispatcher.unanswered < 2:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        gate.open.set()
        await settle(table, 2)

    assert table.answers == {1: 0, 2: 0}


async def test_the_end_answers_all_waiters():
    """When the mount ends, handlers are cancelled and each waiter is answered ENOTCONN, once."""
    gate = Gate()

    async def with_nursery(request: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate, request)

    async with dispatching(Handlers(flock=with_nursery)) as (table, dispatcher):
        table.send(*(flock(token) for token in range(1, 20)), Interrupt(3))
        while dispatcher.unanswered < 18 or not table.answers:
            await trio.lowlevel.checkpoint()

    expected = dict.fromkeys(range(1, 20), errno.ENOTCONN) | {3: errno.EINTR}
    assert table.answers == expected
