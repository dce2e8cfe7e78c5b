"""How a handle is being read: in sequence or at random, and how far ahead it pays to read. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from azfilesfs.cache import SLAB_BYTES
from azfilesfs.model.limits import KIB, MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

# The kernel sends two or three neighbouring requests at the same time and they may arrive swapped.
_SLACK_REQUESTS: Final = 2
_SLACK_BYTES: Final = MIB
# A program that only looks at the head of a file must cost little: the window begins with one range
# and two. The kernel asks for a third MiB when the program wants the second, which shows that it
# reads on; every step more from there on would be a round trip in which nothing arrives.
_LEAST_BYTES: Final = 512 * KIB
_SECOND_BYTES: Final = MIB
_WHOLE_BYTES: Final = 2 * MIB
_FIRST_BYTES: Final = 256 * KIB
_ACTIVE_SECONDS: Final = 3.0


class AccessPattern:
    """State of one handle.

    Attributes:
        window: number of ranges of 4 MiB worth reading ahead; 0 while the reads are not in
            sequence, or have not been for long.
        asked: the last range that was read ahead; -1 for none.
    """

    __slots__ = (
        "_asked_first",
        "_asked_of",
        "_length",
        "_limit",
        "_next",
        "_run",
        "asked",
        "window",
    )

    def __init__(self, limit: int) -> None:
        """Start without knowledge; ``limit`` bounds the window."""
        self.window = 0
        self.asked = -1
        self._asked_first = 0
        self._asked_of: Validator | None = None
        self._limit = limit
        self._next: int | None = None
        self._length = 0
        self._run = 0

    @property
    def extension(self) -> int:
        """How many bytes are worth fetching beyond what a read in sequence asks for.

        As much as was read so far, so that no more than half of what is fetched is in vain. Where
        the next range is worth it already, all that is left of this one, or a round trip would be
        spent on it meanwhile.
        """
        if self.window:
            return SLAB_BYTES
        return min(SLAB_BYTES, max(_FIRST_BYTES, self._run))

    def note(self, window: ByteRange) -> bool:
        """Take note of a read; return whether it continues a sequence."""
        slack = min(_SLACK_BYTES, _SLACK_REQUESTS * max(window.length, self._length))
        continues = self._next is not None and abs(window.start - self._next) <= slack
        self._length = window.length
        if continues:
            self._run += window.length
            self.window = max(self.window, self._worth())
            self._next = max(self._next or 0, window.stop)
        else:
            self._run = 0
            self.window //= 2
            self.asked = -1
            self._next = window.stop
        return continues and self._limit > 0

    def _worth(self) -> int:
        """Return the window that what was read so far is worth."""
        if self._run >= _WHOLE_BYTES:
            return self._limit
        return min(self._limit, (self._run >= _LEAST_BYTES) + (self._run >= _SECOND_BYTES))

    def turn_to(self, validator: Validator) -> None:
        """Take note of the version that is read; nothing has been read ahead of another one."""
        if self._asked_of != validator:
            self.asked, self._asked_of = -1, validator

    def ask(self, slab: int) -> None:
        """Take note that a range is read ahead, the one after ``asked`` or the first."""
        if self.asked < 0:
            self._asked_first = slab
        self.asked = slab

    def missed(self, slab: int) -> None:
        """Take note that a read in sequence did not find its bytes.

        Where they had been read ahead they were pushed out before their time: there is less room
        than the window needs, so it shrinks and grows anew.
        """
        if self._asked_first <= slab <= self.asked:
            self.window = max(1, self.window // 2)
            self._run = 0
            self.asked = -1


class Streams:
    """The handles that are being read in sequence now, which share the memory for that."""

    def __init__(self, limit_bytes: int) -> None:
        """Start with none; together they hold ``limit_bytes``."""
        self._limit = limit_bytes
        self._last: OrderedDict[AccessPattern, float] = OrderedDict()

    def share(self, pattern: AccessPattern, now: float) -> int:
        """Take note that a handle reads on; return how many bytes it may hold and have coming."""
        self._last[pattern] = now
        self._last.move_to_end(pattern)
        while next(iter(self._last.values())) < now - _ACTIVE_SECONDS:
            self._last.popitem(last=False)
        return self._limit // len(self._last)

    def __len__(self) -> int:
        return len(self._last)
