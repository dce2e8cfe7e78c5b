"""Byte ranges as HTTP writes them, and their division into upload and download units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class ByteRange(NamedTuple):
    """A half-open interval ``[start, stop)`` of bytes; the wire writes inclusive ends."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.stop - self.start

    def format(self) -> str:
        """Write it as an ``x-ms-range`` value: ``bytes=0-511``."""
        return f"bytes={self.start}-{self.stop - 1}"

    def split(self, unit: int) -> Iterator[ByteRange]:
        """Cut it at the multiples of ``unit``."""
        start = self.start
        while start < self.stop:
            stop = min(self.stop, (start // unit + 1) * unit)
            yield ByteRange(start, stop)
            start = stop


def parse_range(text: str, size: int) -> ByteRange:
    """Read an ``x-ms-range`` request value; an open end means the end of a file of ``size`` bytes.

    Raises:
        ValueError: the value is not of the two forms that the service takes.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a byte range")
    start = int(match.group(1))
    stop = int(match.group(2)) + 1 if match.group(2) else max(size, start)
    if match.group(2) and stop <= start:
        raise ValueError("the range ends before it starts")
    return ByteRange(start, stop)


def parse_content_range(text: str) -> tuple[ByteRange, int]:
    """Read a ``Content-Range`` answer: the range and the size of the whole file.

    Raises:
        ValueError: the value is not of the form ``bytes a-b/size`` with a <= b < size.
    """
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a Content-Range")
    first, last, size = (int(group) for group in match.groups())
    if not first <= last < size:
        raise ValueError("the Content-Range is out of order")
    return ByteRange(first, last + 1), size
