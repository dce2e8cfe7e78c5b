"""A set of byte intervals: which bytes of a file are dirty. Pure and synchronous."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from azfilesfs.model.ranges import ByteRange


class ExtentMap:
    """Disjoint, sorted, non-adjacent half-open intervals.

    Invariant: ``starts`` and ``stops`` have one length, and starts[i] < stops[i] < starts[i + 1].
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self, extents: Iterable[ByteRange] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for extent in extents:
            self.add(extent)

    def add(self, extent: ByteRange) -> None:
        """Add an interval, merging what it overlaps or touches."""
        start, stop = extent
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def remove(self, extent: ByteRange) -> None:
        """Take an interval out, cutting what it overlaps."""
        start, stop = extent
        if start >= stop:
            return
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        if first >= last:
            return
        kept = [
            ByteRange(self._starts[first], min(start, self._stops[first])),
            ByteRange(max(stop, self._starts[last - 1]), self._stops[last - 1]),
        ]
        kept = [piece for piece in kept if piece.start < piece.stop]
        self._starts[first:last] = [piece.start for piece in kept]
        self._stops[first:last] = [piece.stop for piece in kept]

    def truncate(self, size: int) -> None:
        """Take out everything from ``size`` on."""
        if self._stops and self._stops[-1] > size:
            self.remove(ByteRange(size, self._stops[-1]))

    def clear(self) -> None:
        """Take out everything."""
        self._starts.clear()
        self._stops.clear()

    def within(self, window: ByteRange) -> Iterator[ByteRange]:
        """Yield the parts of the intervals that lie in the window, in order."""
        index = bisect_right(self._stops, window.start)
        while index < len(self._starts) and self._starts[index] < window.stop:
            yield ByteRange(
                max(self._starts[index], window.start), min(self._stops[index], window.stop)
            )
            index += 1

    def gaps(self, window: ByteRange) -> Iterator[ByteRange]:
        """Yield the parts of the window that no interval covers, in order."""
        position = window.start
        for extent in self.within(window):
            if position < extent.start:
                yield ByteRange(position, extent.start)
            position = extent.stop
        if position < window.stop:
            yield ByteRange(position, window.stop)

    def covers(self, window: ByteRange) -> bool:
        """Tell whether every byte of the window is in the set."""
        return next(self.gaps(window), None) is None

    def copy(self) -> ExtentMap:
        """Return an independent copy."""
        twin = ExtentMap()
        twin._starts = self._starts.copy()
        twin._stops = self._stops.copy()
        return twin

    @property
    def total(self) -> int:
        """Number of bytes in the set."""
        return sum(self._stops) - sum(self._starts)

    def __iter__(self) -> Iterator[ByteRange]:
        return (
            ByteRange(start, stop)
            for start, stop in zip(self._starts.copy(), self._stops.copy(), strict=True)
        )

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExtentMap):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    def __repr__(self) -> str:
        return f"ExtentMap({list(self)!r})"
