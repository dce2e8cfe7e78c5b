"""What one upload pass sends. Pure and synchronous."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from azfilesfs.client import Times
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.limits import FILE_BYTES, MIB, RANGE_BYTES
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.dirty import DirtyFile

_AHEAD_BYTES = 64 * MIB
_MOST_AHEAD_BYTES = 256 * MIB


def _tell_nobody(count: int) -> None:
    """Take no notice of an answer."""


def _always() -> bool:
    """Go on."""
    return True


@dataclass(slots=True)
class Plan:
    """What one pass sends: fixed at its start, later writes wait for the next pass.

    Attributes:
        is_partial: whether it is a background pass, after which more will come. It alone takes on
            what is written while it runs, so that ranges go on being sent without a pause.
        most: bytes that a background pass sends at most.
        on_answer: hears how many bytes the service has taken with each answer.
        may_go_on: tells whether a background pass may take on more.
    """

    extents: tuple[ByteRange, ...]
    size: int
    mtime_ns: int | None
    ctime_ns: int | None
    is_partial: bool = False
    most: int = 0
    on_answer: Callable[[int], None] = _tell_nobody
    may_go_on: Callable[[], bool] = _always

    @classmethod
    def of(cls, dirty: DirtyFile) -> Plan:
        """Plan everything that is dirty."""
        return cls(tuple(dirty.staged.dirty), dirty.size, dirty.mtime_ns, dirty.ctime_ns)

    @classmethod
    def of_full_ranges(
        cls,
        dirty: DirtyFile,
        most: int,
        on_answer: Callable[[int], None] = _tell_nobody,
        may_go_on: Callable[[], bool] = _always,
    ) -> Plan:
        """Plan the 4 MiB units that are dirty from end to end, at most so many bytes of them."""
        extents = ExtentMap(islice(_full_units(dirty.staged.dirty), max(1, most // RANGE_BYTES)))
        times = dirty.mtime_ns, dirty.ctime_ns
        return cls(tuple(extents), dirty.size, *times, True, most, on_answer, may_go_on)

    def take_on(self, dirty: DirtyFile, limit: int) -> list[ByteRange]:
        """Return what a background pass takes on: what has become full behind its last unit.

        That is as far as the first ``limit`` bytes of the file.
        """
        behind = ByteRange(self.extents[-1].stop, max(limit, self.extents[-1].stop))
        units = _full_units(dirty.staged.dirty.within(behind))
        taken = list(islice(units, self._room()))
        if taken:
            for unit in taken:
                dirty.take_on(unit)
            self.extents = tuple(ExtentMap((*self.extents, *taken)))
            self.size = max(self.size, taken[-1].stop)
        return taken

    def is_outgrown(self, dirty: DirtyFile, limit: int) -> bool:
        """Tell whether the pass could take on more if the remote file had more than ``limit``."""
        return dirty.size > limit and self._room() > 0

    def _room(self) -> int:
        """Return how many units the pass may take on still."""
        if not self.is_partial or not self.may_go_on():
            return 0
        return max(0, self.most - sum(extent.length for extent in self.extents)) // RANGE_BYTES

    def pieces(self) -> list[ByteRange]:
        """Return the bodies of the Put Range requests."""
        return [piece for extent in self.extents for piece in extent.split(RANGE_BYTES)]

    def longest(self) -> int:
        """Return how many bytes it may come to send."""
        return max(self.most, sum(extent.length for extent in self.extents))

    def times(self) -> Times:
        """Return the times that the closing request sets."""
        return Times(last_write_ns=self.mtime_ns, change_ns=self.ctime_ns)

    def least_size(self) -> int:
        """Return the size that the remote file must have before the first range is sent.

        A background pass goes on growing it while it runs.
        """
        return self.extents[-1].stop if self.is_partial else self.size

    def remote_size(self) -> int:
        """Return the size that the remote file needs for this pass.

        One that is still being written grows by more than it needs, so that growing costs few
        requests.
        """
        return grown_size(self.size) if self.is_partial else self.size


def grown_size(size: int) -> int:
    """Return what a remote file gets that is still being written, where it needs ``size``."""
    ahead = min(max(size, _AHEAD_BYTES), _MOST_AHEAD_BYTES)
    return min(size + ahead, FILE_BYTES)


def _full_units(extents: Iterable[ByteRange]) -> Iterator[ByteRange]:
    return (
        piece
        for extent in extents
        for piece in extent.split(RANGE_BYTES)
        if piece.length == RANGE_BYTES
    )
