"""Kept records from outside a mount, for ``azfilesfs recover``: where they are, what is in them.

Works on kept records and on leftovers of dead owners, never on what a live mount stages.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from azfilesfs.errors import ConfigurationError, IntegrityError
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs import kept
from azfilesfs.vfs.disk import PRIVATE_FILE, StagingInUse, owned, read_whole
from azfilesfs.vfs.kept import KeptRecord, Layout

# A mount's state directory is given, or one that holds those of all mounts, itself or in a folder.
_PATTERNS: Final = ("staging", "*/staging", "*/*/staging")


class NoSuchRecord(ConfigurationError):
    """No kept record has that id, or several begin with it."""


class RecordBusy(ConfigurationError):
    """Another process is sending or discarding this record."""


def find_layouts(places: Iterable[Path]) -> list[Layout]:
    """Return the staging areas in or below these directories: of one mount, or of all."""
    found: dict[Path, Layout] = {}
    for place in places:
        for pattern in _PATTERNS:
            for staging in sorted(place.glob(pattern)):
                if (staging / "kept").is_dir() and not staging.is_symlink():
                    found.setdefault(staging.resolve(), Layout(staging.parent))
    return list(found.values())


def collect(layout: Layout) -> list[KeptRecord]:
    """Return the kept records of an area, those of a dead owner's leftovers among them.

    Raises:
        UnsafeDirectory: a directory is a link, of another owner or open to others.
        OSError: the disk refused.
    """
    layout.prepare()
    try:
        with owned(layout.lock, patience=0):
            kept.adopt_leftovers(layout)
    except StagingInUse:
        # What its owner has live is its own business; what it has kept is not.
        pass
    return kept.load_all(layout)


def find(records: Iterable[KeptRecord], wanted: str) -> KeptRecord:
    """Return the record with this id, or the only one whose id begins so.

    Raises:
        NoSuchRecord: there is none, or more than one.
    """
    matching = [record for record in records if record.id.startswith(wanted)] if wanted else []
    exact = [record for record in matching if record.id == wanted]
    if len(exact or matching) == 1:
        return (exact or matching)[0]
    if matching:
        ids = ", ".join(record.id for record in matching)
        raise NoSuchRecord(f"{wanted!r} fits several records: {ids}")
    raise NoSuchRecord(f"there is no kept record {wanted!r}; see 'azfilesfs recover list'")


@contextmanager
def claimed(record: KeptRecord) -> Iterator[KeptRecord]:
    """Be the only one to work on a record while the block runs; yields it as it is now.

    Raises:
        RecordBusy: another process works on it.
        NoSuchRecord: it is gone.
    """
    try:
        descriptor = os.open(record.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise NoSuchRecord(f"the record {record.id} is gone") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecordBusy(f"another process is working on the record {record.id}") from None
        current = kept.load(record.directory)
        if current is None:
            raise NoSuchRecord(f"the record {record.id} is gone")
        yield current
    finally:
        os.close(descriptor)


def read_extent(record: KeptRecord, extent: ByteRange) -> bytes:
    """Return dirty bytes of a record.

    Raises:
        IntegrityError: the staged bytes end before the extent does.
        OSError: the disk refused.
    """
    descriptor = os.open(record.data, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_size < extent.stop:
            raise IntegrityError(f"{record.data} is shorter than its record says")
        return read_whole(descriptor, extent.start, extent.stop)
    finally:
        os.close(descriptor)


def dirty_map(record: KeptRecord) -> ExtentMap:
    """Return the dirty extents of a record as a map."""
    return ExtentMap(record.dirty)


def needs_base(record: KeptRecord) -> bool:
    """Tell whether bytes of the base version are part of the file."""
    return not dirty_map(record).covers(ByteRange(0, min(record.base_limit, record.size)))


class NewFile:
    """A local file made for a record's bytes; it gets its name only when it is whole."""

    def __init__(self, path: Path, size: int) -> None:
        """Begin a sparse file of that size beside ``path``.

        Raises:
            FileExistsError: there is a file of that name; it is never replaced.
            OSError: it cannot be made.
        """
        if path.exists() or path.is_symlink():
            raise FileExistsError(f"{path} exists")
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._unfinished, flags, PRIVATE_FILE)
        os.ftruncate(self._descriptor, size)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes.

        Raises:
            OSError: the disk refused.
        """
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            view, offset = view[count:], offset + count

    def finish(self) -> None:
        """Give the file its name, unless there is one by now.

        Raises:
            FileExistsError: somebody made a file of that name meanwhile.
            OSError: the disk refused.
        """
        os.fsync(self._descriptor)
        os.link(self._unfinished, self._path)

    def close(self) -> None:
        """Close and remove the unfinished name."""
        os.close(self._descriptor)
        self._unfinished.unlink()


@contextmanager
def new_file(path: Path, size: int) -> Iterator[NewFile]:
    """Make a local file that is there only if the block comes to its end.

    Raises:
        FileExistsError: there is a file of that name.
        OSError: the disk refused.
    """
    file = NewFile(path, size)
    try:
        yield file
        file.finish()
    finally:
        file.close()


def write_extents(record: KeptRecord, path: Path) -> None:
    """Write the dirty bytes into a new local file, at their offsets, with holes between them.

    Raises:
        FileExistsError: there is a file of that name.
        IntegrityError: the staged bytes are not complete.
        OSError: the disk refused.
    """
    with new_file(path, record.size) as file:
        for extent in record.dirty:
            for piece in extent.split(RANGE_BYTES):
                file.write(piece.start, read_extent(record, piece))


def discard(record: KeptRecord) -> None:
    """Remove a record and its bytes for good; the caller has claimed it.

    Raises:
        OSError: the disk refused.
    """
    kept.remove(record.directory)
