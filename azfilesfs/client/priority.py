"""How urgent requests are: what a caller says about them. Pure.

The word is given for a block, and for the tasks started in it, as a cancel scope is: what lies
between, such as the tables of a file system, need not pass it on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Final


class Priority(IntEnum):
    """Who waits for a request; the lower number goes first."""

    URGENT = 0
    """Other requests wait for it, or something expires: leases, and whatever else keeps a lock."""
    FOREGROUND = 1
    """Somebody waits for the answer."""
    READAHEAD = 2
    """Somebody is likely to want it soon."""
    BACKGROUND = 3
    """It has to be done some time."""


class Urgency:
    """The priority of the requests of one block; it may be raised while they wait.

    Invariant: ``_waiting`` has exactly the requests of the block that wait for their turn.
    """

    __slots__ = ("_priority", "_waiting")

    def __init__(self, priority: Priority) -> None:
        """Begin with a priority and no requests."""
        self._priority = priority
        self._waiting: dict[object, Callable[[], None]] = {}

    @property
    def priority(self) -> Priority:
        """The priority as of now."""
        return self._priority

    def promote(self) -> None:
        """Say that somebody waits now: what waits moves up, what comes is FOREGROUND."""
        if self._priority <= Priority.FOREGROUND:
            return
        self._priority = Priority.FOREGROUND
        for move in list(self._waiting.values()):
            move()

    def joined(self, request: object, move: Callable[[], None]) -> None:
        """Take note of a request that waits, and of how it is moved up."""
        self._waiting[request] = move

    def left(self, request: object) -> None:
        """Forget a request that waits no longer."""
        self._waiting.pop(request, None)


_FOREGROUND: Final = Urgency(Priority.FOREGROUND)
_CURRENT: Final[ContextVar[Urgency]] = ContextVar("azfilesfs_urgency", default=_FOREGROUND)


def current_urgency() -> Urgency:
    """Return the urgency of the innermost block; outside of any it is FOREGROUND."""
    return _CURRENT.get()


@contextmanager
def prioritised(how: Priority | Urgency) -> Iterator[Urgency]:
    """Give the requests made in the block, and in tasks started in it, a priority.

    Args:
        how: the priority, or an urgency that somebody else may raise.

    Returns:
        what raises it later, from anywhere.
    """
    urgency = how if isinstance(how, Urgency) else Urgency(how)
    token = _CURRENT.set(urgency)
    try:
        yield urgency
    finally:
        _CURRENT.reset(token)
