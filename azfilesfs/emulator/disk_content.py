"""Contents of files in a directory: a sparse file each, and parts that wait beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from azfilesfs.emulator.content import CHUNK_BYTES, PIECE_BYTES
from azfilesfs.emulator.request import Body
from azfilesfs.model.limits import FILE_BYTES
from azfilesfs.model.ranges import ByteRange

_ZEROS: Final = bytes(CHUNK_BYTES)


class DiskContent:
    """A sparse file, and beside it files with parts that were not copied into it yet.

    Such a part is called ``KEY.START`` in hexadecimal, so that they survive without any record.
    No two overlap.
    """

    __slots__ = ("_contents", "_parts", "_path", "key")

    def __init__(self, contents: DiskContents, key: str, parts: Iterable[ByteRange] = ()) -> None:
        self._contents = contents
        self.key = key
        self._path = contents.path(key)
        self._parts = set(parts)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _part_path(self, part: ByteRange) -> Path:
        return self._contents.path(f"{self.key}.{part.start:x}")

    def adopt(self, start: int, path: Path) -> None:
        """Take a file as a part, to be copied once somebody wants to see it.

        A file on another file system is copied at once.
        """
        part = ByteRange(start, start + path.stat().st_size)
        if not part.length:
            return
        if part not in self._parts:
            self._settle(*part)
        try:
            path.rename(self._part_path(part))
        except OSError:
            self.write(start, path.read_bytes())
        else:
            self._parts.add(part)

    def _settle(self, start: int, stop: int) -> None:
        """Copy the parts that overlap a range into the file."""
        for part in [part for part in self._parts if part.start < stop and start < part.stop]:
            path, descriptor = self._part_path(part), self._open()
            try:
                _copy_whole(path, descriptor, part.start)
            finally:
                os.close(descriptor)
            path.unlink()
            self._parts.remove(part)

    def write(self, start: int, data: Body) -> None:
        """Store bytes."""
        view = memoryview(data)
        self._settle(start, start + len(view))
        descriptor = self._open()
        try:
            while view:
                written = os.pwrite(descriptor, view, start)
                view, start = view[written:], start + written
        finally:
            os.close(descriptor)

    def zero(self, start: int, stop: int) -> None:
        """Make a part read as zeros, leaving holes alone; at its end the file gets shorter."""
        self._settle(start, stop)
        descriptor = self._open()
        try:
            size = os.fstat(descriptor).st_size
            if start < size <= stop:
                os.ftruncate(descriptor, start)
                return
            for first, last in list(_data_in(descriptor, start, min(stop, size))):
                while first < last:
                    first += os.pwrite(descriptor, _ZEROS[: last - first], first)
        finally:
            os.close(descriptor)

    def truncate(self, size: int) -> None:
        """Forget everything from ``size`` on."""
        self._settle(size, FILE_BYTES)
        descriptor = self._open()
        try:
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes."""
        self._settle(start, stop)
        descriptor = self._open()
        try:
            data = os.pread(descriptor, stop - start, start)
        finally:
            os.close(descriptor)
        return data if len(data) == stop - start else data.ljust(stop - start, b"\0")

    def reach(self, size: int, start: int, stop: int) -> None:
        """Let the file have a part, and be as long as the size says, with a hole at its end."""
        self._settle(start, stop)
        descriptor = self._open()
        try:
            if os.fstat(descriptor).st_size < size:
                os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def clone(self) -> DiskContent:
        """Return a copy in a file of its own, holes kept as holes."""
        self._settle(0, FILE_BYTES)
        twin = self._contents.new()
        source, target = self._open(), twin._open()
        try:
            _copy_sparse(source, target)
        finally:
            os.close(source)
            os.close(target)
        return twin

    def discard(self) -> None:
        """Remove the file once nothing on disk refers to it any more."""
        self._contents.doomed += [self._path, *map(self._part_path, self._parts)]
        self._parts.clear()


def _copy_whole(path: Path, target: int, start: int) -> None:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size, position = os.fstat(source).st_size, 0
        while position < size:
            position += os.copy_file_range(
                source, target, size - position, position, start + position
            )
    finally:
        os.close(source)


def _data_in(descriptor: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file that are not holes, so that a huge sparse file costs nothing."""
    while start < stop:
        try:
            first = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError:  # no data after this point
            return
        start = os.lseek(descriptor, first, os.SEEK_HOLE)
        if first < stop:
            yield first, min(start, stop)


def _copy_sparse(source: int, target: int) -> None:
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    for start, stop in _data_in(source, 0, size):
        position = start
        while position < stop:
            data = os.pread(source, min(PIECE_BYTES, stop - position), position)
            position += os.pwrite(target, data, position)


class DiskContents:
    """Makes contents that live in sparse files of one directory.

    Attributes:
        doomed: files to remove after the commit that stops referring to them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.doomed: list[Path] = []
        directory.mkdir(parents=True, exist_ok=True)
        self._next = 1
        self._parts: dict[str, list[ByteRange]] = {}
        for path in directory.iterdir():
            key, _, start = path.name.partition(".")
            self._next = max(self._next, int(key, 16) + 1)
            if start:
                part = ByteRange(int(start, 16), int(start, 16) + path.stat().st_size)
                self._parts.setdefault(key, []).append(part)

    def path(self, key: str) -> Path:
        """Return where a content lies."""
        return self._directory / key

    def new(self) -> DiskContent:
        """Return an empty content."""
        key = f"{self._next:016x}"
        self._next += 1
        return DiskContent(self, key)

    def open(self, key: str) -> DiskContent:
        """Return the content of that key."""
        return DiskContent(self, key, self._parts.get(key, ()))

    def sweep(self) -> None:
        """Remove the files that were discarded."""
        for path in self.doomed:
            path.unlink(missing_ok=True)
        self.doomed.clear()

    def keep_only(self, keys: set[str]) -> None:
        """Remove every file but these: what a killed process left behind."""
        for path in self._directory.iterdir():
            if path.name.partition(".")[0] not in keys:
                path.unlink()
