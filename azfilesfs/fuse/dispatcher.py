"""Answering what comes by the operation table: one task a request, under the same guard as the
handlers that pyfuse3 calls.

A lock may wait without end; the process that waits may be signalled meanwhile, and is then answered
EINTR at once. What is still unanswered when the mount ends is answered ENOTCONN, while the session
is still there to answer by.
"""

from __future__ import annotations

import errno
import logging
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pyfuse3
import trio

from azfilesfs.fuse.guard import Guard
from azfilesfs.fuse.optable import OperationTable
from azfilesfs.fuse.requests import (
    AllocateRequest,
    AnyRequest,
    CopyRequest,
    FlockRequest,
    GetLockRequest,
    Handlers,
    Interrupt,
    SeekRequest,
    SetLockRequest,
)
from azfilesfs.vfs.errors import VfsError

_log = logging.getLogger(__name__)

_OPERATIONS = {
    FlockRequest: "flock",
    SetLockRequest: "setlk",
    GetLockRequest: "getlk",
    AllocateRequest: "fallocate",
    SeekRequest: "lseek",
    CopyRequest: "copy_file_range",
}

_Answer = Callable[[], int]
H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: AnyRequest
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Dispatcher:
    """The requests of one mount; made by ``dispatching``."""

    def __init__(self, table: OperationTable, handlers: Handlers, guard: Guard) -> None:
        """Keep the parts; nothing happens yet."""
        self._table = table
        self._handlers = handlers
        self._guard = guard
        self._waiting: dict[int, _Waiting] = {}

    @property
    def unanswered(self) -> int:
        """How many requests wait for their answers."""
        return len(self._waiting)

    @property
    def is_interposed(self) -> bool:
        """Whether the session was made with the handlers' operations."""
        return self._table.is_interposed

    async def run(self) -> None:
        """Answer requests until cancelled, and then all that are left, with ENOTCONN."""
        try:
            async with trio.open_nursery() as nursery:
                await self._receive(nursery)
        finally:
            self._table.stop(errno.ENOTCONN)

    async def _receive(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._table.wake_fd)
            for message in self._table.take():
                if isinstance(message, Interrupt):
                    self._interrupt(message.token)
                    continue
                # Before the task starts, so that an interrupt finds it in any case.
                self._waiting[message.token] = _Waiting(message)
                nursery.start_soon(self._serve, message)

    def _interrupt(self, token: int) -> None:
        waiting = self._waiting.get(token)
        if waiting is not None and _is_interruptible(waiting.request):
            waiting.scope.cancel()

    async def _serve(self, request: AnyRequest) -> None:
        def fail(number: int) -> _Answer:
            return lambda: self._table.reply_error(request.token, number)

        scope = self._waiting[request.token].scope
        answer = fail(errno.ENOTCONN)
        try:
            with scope:
                answer = await self._call(request)
            if scope.cancelled_caught:
                answer = fail(errno.EINTR)
        except pyfuse3.FUSEError as error:
            answer = fail(error.errno)
        finally:
            del self._waiting[request.token]
            number = answer()
            if number:
                # The kernel hung up before it had the answer: the mount is ending.
                _log.debug("%s: the kernel took no answer: errno %d", _name(request), number)

    async def _call(self, request: AnyRequest) -> _Answer:
        return await self._guard.run(
            _name(request),
            self._handle(request),
            (request.inode, request.handle),
        )

    async def _handle(self, request: AnyRequest) -> _Answer:
        """Let the handler do its work; return how to answer."""
        table, handlers, token = self._table, self._handlers, request.token
        match request:
            case FlockRequest():
                await _present(handlers.flock)(request)
            case SetLockRequest():
                await _present(handlers.setlk)(request)
            case AllocateRequest():
                await _present(handlers.fallocate)(request)
            case GetLockRequest():
                held = await _present(handlers.getlk)(request)
                return lambda: table.reply_lock(token, held)
            case SeekRequest():
                offset = operator.index(await _present(handlers.lseek)(request))
                return lambda: table.reply_offset(token, offset)
            case CopyRequest():
                count = operator.index(await _present(handlers.copy_file_range)(request))
                return lambda: table.reply_count(token, count)
        return lambda: table.reply_error(token, 0)


@contextmanager
def dispatching(table: OperationTable, handlers: Handlers, guard: Guard) -> Iterator[Dispatcher]:
    """Open the table for the session that is made inside.

    ``run`` must have ended before that session is freed: answers need it.
    """
    table.register(handlers.names())
    try:
        yield Dispatcher(table, handlers, guard)
    finally:
        table.stop()


def _name(request: AnyRequest) -> str:
    waits = isinstance(request, FlockRequest | SetLockRequest) and request.blocking
    return _OPERATIONS[type(request)] + ("_wait" if waits and _is_interruptible(request) else "")


def _is_interruptible(request: AnyRequest) -> bool:
    """Tell whether a signal ends it: an attempt to lock only, for giving up must not fail."""
    return isinstance(request, FlockRequest | SetLockRequest) and request.takes


def _present(handler: H | None) -> H:
    if handler is None:
        raise VfsError(errno.ENOSYS, "no handler was registered")
    return handler
