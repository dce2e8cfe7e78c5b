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


def _tell_nobody(count: int) -> bool:
    """Take no notice of an answer."""
    return True


@dataclass(slots=True)
class Plan:
    """What one pass sends: fixed at its start, later writes wait for the next pass.

    Attributes:
        is_partial: whether it is a background pass, after which more will come. It alone takes on
            what is written while it runs, so that ranges go on being sent without a pause.
        most: bytes that a background pass sends at most.
        on_answer: hears how many bytes the service has taken with each answer, and tells whether
            a background pass may take on more.
    """

    extents: tuple[ByteRange, ...]
    size: int
    mtime_ns: int | None
    ctime_ns: int | None
    is_partial: bool = False
    most: int = 0
    on_answer: Callable[[int], bool] = _tell_nobody

    @classmethod
    def of(cls, dirty: DirtyFile) -> Plan:
        """Plan everything that is dirty."""
        return cls(tuple(dirty.staged.dirty), dirty.size, dirty.mtime_ns, dirty.ctime_ns)

    @classmethod
    def of_full_ranges(
        cls, dirty: DirtyFile, most: int, on_answer: Callable[[int], bool] = _tell_nobody
    ) -> Plan:
        """Plan the 4 MiB units that are dirty from end to end, at most so many bytes of them."""
        extents = ExtentMap(islice(_full_units(dirty.staged.dirty), max(1, most // RANGE_BYTES)))
        times = dirty.mtime_ns, dirty.ctime_ns
        return cls(tuple(extents), dirty.size, *times, True, most, on_answer)

    def answered(self, piece: ByteRange, dirty: DirtyFile, limit: int) -> list[ByteRange]:
        """Note that the service has taken a piece; return what the pass takes on in its place.

        That is what has become full behind its last unit, as far as the first ``limit`` bytes of
        the file.
        """
        may_go_on = self.on_answer(piece.length)
        return self._extend(dirty, limit) if self.is_partial and may_go_on else []

    def _extend(self, dirty: DirtyFile, limit: int) -> list[ByteRange]:
        room = self.most - sum(extent.length for extent in self.extents)
        behind = ByteRange(self.extents[-1].stop, limit)
        units = _full_units(dirty.staged.dirty.within(behind))
        taken = list(islice(units, max(0, room // RANGE_BYTES)))
        if taken:
            for unit in taken:
                dirty.take_on(unit)
            self.extents = tuple(ExtentMap((*self.extents, *taken)))
            self.size = max(self.size, taken[-1].stop)
        return taken

    def pieces(self) -> list[ByteRange]:
        """Return the bodies of the Put Range requests."""
        return [piece for extent in self.extents for piece in extent.split(RANGE_BYTES)]

    def longest(self) -> int:
        """Return how many bytes it may come to send."""
        return max(self.most, sum(extent.length for extent in self.extents))

    def times(self) -> Times:
        """Return the times that the closing request sets."""
        return Times(last_write_ns=self.mtime_ns, change_ns=self.ctime_ns)

    def remote_size(self) -> int:
        """Return the size that the remote file needs for this pass.

        One that is still being written grows by more than it needs, so that growing costs few
        requests.
        """
        if not self.is_partial:
            return self.size
        ahead = min(max(self.size, _AHEAD_BYTES), _MOST_AHEAD_BYTES)
        return min(self.size + ahead, FILE_BYTES)


def _full_units(extents: Iterable[ByteRange]) -> Iterator[ByteRange]:
    return (
        piece
        for extent in extents
        for piece in extent.split(RANGE_BYTES)
        if piece.length == RANGE_BYTES
    )
