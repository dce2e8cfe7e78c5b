"""One guard around every operation: a deadline, one errno for any failure, one log line, one
measurement.

pyfuse3 ends the whole mount when a handler raises anything but ``FUSEError``, so nothing else may
pass. Only a cancellation does: it comes from the daemon, which is then ending the mount itself.
"""

from __future__ import annotations

import errno
import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import pyfuse3
import trio

from azfilesfs.errors import AzureFilesError
from azfilesfs.vfs.errors import VfsError, to_vfs_error

_log = logging.getLogger(__name__)

_TRANSFERS: Final = frozenset(
    {"read", "write", "flush", "fsync", "release", "rename", "fallocate", "copy_file_range"}
)
"""Operations that may have to move file contents, and so get the longer deadline."""

_WAITS: Final = frozenset({"flock_wait", "setlk_wait"})
"""Operations that last until somebody else lets go, or until a signal ends them."""

_FACTS_LOGGED: Final = 2
"""How many arguments a log line shows: ids, a name, an offset. The third of write is its data."""

Observer = Callable[[str, float, int], None]
"""Takes the operation's name, its duration in seconds and its errno (0 for success)."""

P = ParamSpec("P")
R = TypeVar("R")


def ignore_measurement(operation: str, seconds: float, number: int) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long one operation may take at most, in seconds."""

    operation: float
    transfer: float

    def of(self, operation: str) -> float:
        """Return the deadline of an operation by its name."""
        if operation in _WAITS:
            return math.inf
        return self.transfer if operation in _TRANSFERS else self.operation


class Guard:
    """What all operations of one mount have in common."""

    def __init__(self, deadlines: Deadlines, observer: Observer = ignore_measurement) -> None:
        """Keep the deadlines and whom to tell about durations; the observer must not raise."""
        self._deadlines = deadlines
        self._observer = observer

    async def run(self, operation: str, call: Awaitable[R], arguments: Iterable[object]) -> R:
        """Run one operation to its end; its first arguments are shown where it fails.

        A cancellation from outside passes through, with whatever the filesystem's own cleanup
        leaves.

        Raises:
            pyfuse3.FUSEError: the operation failed, whichever way, or met its deadline (ETIMEDOUT).
        """
        started = time.perf_counter()
        number = errno.EINTR
        deadline = trio.current_time() + self._deadlines.of(operation)
        try:
            with trio.CancelScope(deadline=deadline):
                result = await call
                number = 0
                return result
            raise trio.TooSlowError
        except Exception as error:  # noqa: BLE001  # nothing else may reach pyfuse3
            number = _report(operation, _facts(arguments), error)
            raise pyfuse3.FUSEError(number) from None
        finally:
            self._observer(operation, time.perf_counter() - started, number)


class Guarded(Protocol):
    """An object whose operations run under a guard."""

    @property
    def guard(self) -> Guard:
        """The guard of this mount."""
        ...


G = TypeVar("G", bound=Guarded)


def guarded(
    method: Callable[Concatenate[G, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[G, P], Coroutine[Any, Any, R]]:
    """Wrap an operation in the guard of its object."""
    operation = method.__name__

    @functools.wraps(method)
    async def wrapper(self: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.guard.run(operation, method(self, *args, **kwargs), args)

    return wrapper


def guarded_silently(
    method: Callable[Concatenate[G, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[G, P], Coroutine[Any, Any, None]]:
    """Wrap an operation without an answer, where even ``FUSEError`` would end the mount."""
    inner = guarded(method)

    @functools.wraps(method)
    async def wrapper(self: G, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await inner(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            return  # the guard has logged it

    return wrapper


def _facts(arguments: Iterable[object]) -> str:
    """Show ids, names and offsets: not contexts, and not the data of a write."""
    shown = islice(arguments, _FACTS_LOGGED)
    return ", ".join(repr(fact) for fact in shown if isinstance(fact, int | bytes))


def _report(operation: str, facts: str, error: Exception) -> int:
    """Log a failure at the level it deserves and return its errno."""
    error = _only_member(error)
    if isinstance(error, pyfuse3.FUSEError):
        return error.errno
    if isinstance(error, AzureFilesError):
        error = to_vfs_error(error)
    if isinstance(error, VfsError):
        _log.log(error.log_level, "%s(%s): %s", operation, facts, error)
        return error.errno
    if isinstance(error, trio.TooSlowError):
        _log.warning("%s(%s): ETIMEDOUT: the deadline passed", operation, facts)
        return errno.ETIMEDOUT
    _log.error("%s(%s): EIO: unexpected failure", operation, facts, exc_info=error)
    return errno.EIO


def _only_member(error: Exception) -> Exception:
    """Take a lone failure out of the groups that nurseries wrap it in."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
