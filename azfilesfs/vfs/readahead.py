"""How a handle is being read: in sequence or at random, and how far ahead it pays to read. Pure."""

from __future__ import annotations

from typing import Final

from azfilesfs.model.limits import MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

# The kernel sends neighbouring requests of up to 1 MiB at the same time and they may arrive
# swapped.
_SLACK_BYTES: Final = MIB
# The window doubles with each MiB that was read in sequence: after 3 MiB it is at its usual limit,
# so a program that only looks at the head of a file costs little.
_GROWTH_BYTES: Final = MIB


class AccessPattern:
    """State of one handle.

    Attributes:
        window: number of ranges of 4 MiB worth reading ahead; 0 while the reads are not in
            sequence.
        asked: the last range that was read ahead, of the version ``asked_of``; -1 for none.
    """

    __slots__ = ("_limit", "_next", "_run", "asked", "asked_of", "window")

    def __init__(self, limit: int) -> None:
        """Start without knowledge; ``limit`` bounds the window."""
        self.window = 0
        self.asked = -1
        self.asked_of: Validator | None = None
        self._limit = limit
        self._next: int | None = None
        self._run = 0

    def note(self, window: ByteRange) -> bool:
        """Take note of a read; return whether it continues a sequence."""
        continues = self._next is not None and abs(window.start - self._next) <= _SLACK_BYTES
        if continues:
            self._run += window.length
            grown = 1 << min(self._run // _GROWTH_BYTES, 30)
            self.window = min(self._limit, max(self.window, grown))
            self._next = max(self._next or 0, window.stop)
        else:
            self._run = 0
            self.window //= 2
            self.asked = -1
            self._next = window.stop
        return continues and self.window > 0
