"""The disk tier: sealed slabs below one directory, bounded in size. For worker threads.

Nothing here raises once the store is open: what cannot be read is a miss, what cannot be written
is dropped, and a database that turns out to be damaged is given up for this run and made anew by
the next.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from azfilesfs.cache.blocks import Place, Table, block_count, place_of, runs_of, version_prefix
from azfilesfs.cache.disk import (
    DATABASE_FILES,
    VALUE_NAME,
    Descriptor,
    Flaw,
    Index,
    Timeout,
    Value,
    looks_sound,
)
from azfilesfs.cache.slabs import OpenSlab, OpenSlabs
from azfilesfs.cache.write_behind import Waiting
from azfilesfs.errors import ConfigurationError
from azfilesfs.model.limits import GIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

_log = logging.getLogger("azfilesfs.cache")
# The version of the layout is part of the name: another layout starts beside this one, not inside
# it.
_FOLDER: Final = "blocks-3"
_FORMER_FOLDERS: Final = ("blocks-1", "blocks-2")
# A value file without a row may be one that another process is writing just now.
_ORPHAN_SECONDS: Final = 600.0
_TRANSIENT: Final = ("locked", "busy", "full")
_VERSIONS: Final = 1024
_FREE_SHARE: Final = 20
_FREE_MOST: Final = 16 * GIB


def free_reserve(folder: Path) -> int:
    """Return how many bytes of the disk are left to others: a twentieth, 16 GiB at most."""
    status = os.statvfs(folder)
    return min(_FREE_MOST, status.f_blocks * status.f_frsize // _FREE_SHARE)


class Source(NamedTuple):
    """A version whose slab may have the blocks that are wanted.

    ``usable`` has one byte a block of the slab, 1 for those that are the same in both versions.
    """

    validator: Validator
    usable: bytes


class Search(NamedTuple):
    """Blocks that are wanted: of one slab, counted from its start, in any of some versions."""

    slab: int
    blocks: range
    sources: Sequence[Source]


class Found(NamedTuple):
    """Consecutive blocks of a slab, ``first`` counted from its start."""

    slab: int
    first: int
    data: memoryview


def prepare_directory(path: Path) -> None:
    """Make the directory with mode 0700, or check that it is ours alone.

    Raises:
        ConfigurationError: it is a link or no directory, belongs to somebody else, or others may
            enter it.
        OSError: it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"the cache directory {str(path)!r} is not a directory")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"the cache directory {str(path)!r} belongs to another user")
    if status.st_mode & 0o077:
        raise ConfigurationError(
            f"the cache directory {str(path)!r} is open to other users; its mode must be 0700"
        )


class DiskStore:
    """Slabs on disk by version and number.

    Attributes:
        used_bytes: size of the store as of the last write or sweep.
        damaged: number of slabs that were found damaged, and removed.
        failed_writes: number of slabs, or parts of them, that could not be written.
    """

    def __init__(self, folder: Path, index: Index, limit_bytes: int) -> None:
        """Use an index that ``open`` opened."""
        self.used_bytes = 0
        self.damaged = 0
        self.failed_writes = 0
        self._folder = folder
        self._index = index
        self._limit = limit_bytes
        self._reserve = free_reserve(folder)
        self._slabs = OpenSlabs()
        # Which slabs of a version have a row, for the versions that were asked for last. May name
        # some that are gone by now.
        self._known: OrderedDict[Validator, set[int]] = OrderedDict()
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._given_up = False

    @classmethod
    def open(cls, directory: Path, limit_bytes: int) -> Self:
        """Open the store below a directory that is ours alone, starting anew where it is damaged.

        Raises:
            ConfigurationError: the directory is not ours alone.
            OSError, sqlite3.Error: it can be neither opened nor made anew.
        """
        prepare_directory(directory)
        folder = directory / _FOLDER
        prepare_directory(folder)
        try:
            if looks_sound(folder):
                return cls(folder, Index(folder), limit_bytes)
        except (sqlite3.Error, Timeout, TypeError, ValueError) as error:
            _log.debug("the index of the disk cache cannot be opened: %s", error)
        _log.warning("the disk cache in %r is damaged and is made anew", str(folder))
        shutil.rmtree(folder)
        prepare_directory(folder)
        return cls(folder, Index(folder), limit_bytes)

    # -- reading ---------------------------------------------------------------------------------

    def read_nowait(self, validator: Validator, slab: int, window: ByteRange) -> memoryview | None:
        """Return bytes of a slab, counted from its start, where that needs no wait for the disk."""
        opened = self._slabs.get(place_of(validator, slab).key)
        return opened.read_nowait(window) if opened is not None else None

    def may_have(self, validator: Validator, slab: int, blocks: range) -> bool:
        """Tell without a look at the disk whether any of the blocks could be there."""
        known = self._known.get(validator)
        if self._given_up or (known is not None and slab not in known):
            return False
        opened = self._slabs.get(place_of(validator, slab).key)
        return opened is None or opened.present.find(1, blocks.start, blocks.stop) >= 0

    def read(self, searches: Sequence[Search]) -> list[Found]:
        """Return those blocks that are here whole."""
        found: list[Found] = []
        if self._given_up:
            return found
        try:
            with self._session():
                for search in searches:
                    self._search(search, found)
        except Exception as error:  # noqa: BLE001 - whatever a damaged cache provokes must be a miss
            self._failed(error)
        return found

    def _search(self, search: Search, found: list[Found]) -> None:
        missing = bytearray(search.blocks.start) + b"\1" * len(search.blocks)
        for validator, usable in search.sources:
            slab = self._open(validator, search.slab)
            if slab is None:
                continue
            marks = _all_of(missing, usable, slab.present)
            for run in runs_of(marks, search.blocks.start, search.blocks.stop):
                try:
                    data = slab.read(run)
                except (ValueError, OSError) as error:
                    self._remove_damaged(slab.place, str(error))
                    break
                found.append(Found(search.slab, run.start, data))
                missing[run.start : run.stop] = bytes(len(run))
            if 1 not in missing:
                return

    def _open(self, validator: Validator, number: int) -> OpenSlab | None:
        """Return a slab, opened if it was not; a damaged one is removed. Only inside a session."""
        place = place_of(validator, number)
        slab = self._slabs.get(place.key)
        if slab is not None:
            return slab
        known = self._slabs_of(validator)
        if number not in known:
            return None
        source = self._index.get(place.key)
        if source is None:
            known.discard(number)
            return None
        if isinstance(source, Flaw):
            self._remove_damaged(place, "its file is missing or not a regular file")
            return None
        try:
            slab = OpenSlab.open(place, source)
        except (ValueError, OSError) as error:
            self._remove_damaged(place, str(error))
            return None
        return self._slabs.add(slab) if isinstance(source, Descriptor) else slab

    def _slabs_of(self, validator: Validator) -> set[int]:
        with self._lock:
            known = self._known.get(validator)
            if known is not None:
                self._known.move_to_end(validator)
                return known
        prefix = version_prefix(validator)
        keys = self._index.keys_between(prefix, f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}")
        numbers = (key.removeprefix(prefix) for key in keys)
        known = {int(number) for number in numbers if number.isdecimal()}
        with self._lock:
            known = self._known.setdefault(validator, known)
            if len(self._known) > _VERSIONS:
                self._known.popitem(last=False)
        return known

    def _remove_damaged(self, place: Place, reason: str) -> None:
        """Remove a slab that cannot be believed, and say so. Only inside a session."""
        # After a power cut there can be thousands: the first is worth a warning.
        level = logging.DEBUG if self.damaged else logging.WARNING
        self.damaged += 1
        _log.log(level, "a value of the disk cache is damaged and removed: %s", reason)
        self._slabs.discard(place.key)
        self._index.delete(place.key)

    # -- writing ---------------------------------------------------------------------------------

    def write(self, batch: Sequence[Waiting]) -> None:
        """Store blocks in one transaction, at the cost of the slabs stored first."""
        length = sum(waiting.length for waiting in batch)
        if self._given_up or length > self._limit:
            self.failed_writes += len(batch)
            return
        try:
            with self._session():
                if not self._make_room(length):
                    self.failed_writes += len(batch)
                    return
                with self._index.transact():
                    for waiting in batch:
                        self._write(waiting)
                self.used_bytes = self._index.volume()
        except Exception as error:  # noqa: BLE001 - the bytes are clean: losing a copy costs one request
            self.failed_writes += len(batch)
            for waiting in batch:
                # What was written may have no row now.
                self._slabs.discard(place_of(waiting.validator, waiting.slab).key)
            self._failed(error)

    def _write(self, waiting: Waiting) -> None:
        """Store blocks of one slab; what fails at the disk costs this one only."""
        place = place_of(waiting.validator, waiting.slab)
        try:
            slab = self._open(waiting.validator, waiting.slab)
            pieces = list(waiting.pieces)
            if slab is None:
                slab = self._create(place, *pieces.pop(0))
                self._slabs_of(waiting.validator).add(waiting.slab)
            grown = sum(slab.extend(first, data) for first, data in pieces)
            if grown:
                slab.finish()
                self._index.grow(place.key, grown)
        except OSError as error:
            self._slabs.discard(place.key)
            self.failed_writes += 1
            self._failed(error)

    def _create(self, place: Place, first: int, data: bytes | bytearray | memoryview) -> OpenSlab:
        table = Table(place)
        table.seal(first, data)
        table.mark(first, first + block_count(len(data)))
        start = place.data_start + place.window(first, first + 1).start
        is_in_row = place.blocks == 1
        self._index.set(place.key, Value(table.pack(), start, data, is_in_row))
        source = None if is_in_row else self._index.get(place.key)
        if not isinstance(source, Descriptor):
            return OpenSlab(table, b"")
        return self._slabs.add(OpenSlab(table, source, is_verified=True))

    def sweep(self) -> None:
        """Bring counters, size and value files into line; ends early on ``stop``."""
        try:
            with self._session():
                known = self._index.reconcile()
                self._make_room(0)
                self.used_bytes = self._index.volume()
            self._delete_orphans(known)
            for name in _FORMER_FOLDERS:
                shutil.rmtree(self._folder.parent / name, ignore_errors=True)
        except Exception as error:  # noqa: BLE001 - a damaged cache is given up; the mount goes on
            self._failed(error)

    def stop(self) -> None:
        """Have a running sweep end soon. Safe from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Close all files and connections; no other thread may be in here any more."""
        self._slabs.clear()
        while self._idle:
            with suppress(sqlite3.Error):
                self._idle.pop().close()

    @contextmanager
    def _session(self) -> Iterator[None]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._index.connect()
        try:
            with self._index.session(connection):
                yield
        finally:
            with self._lock:
                self._idle.append(connection)

    def _make_room(self, needed: int) -> bool:
        """Evict until there is room below the limit and on the disk; return whether there is.

        Slabs that are open, since they were read just now, go last. Where one is being read its
        reader still has the file.
        """
        while not self._has_room(needed) and not self._stopping.is_set():
            key = self._index.evict_oldest(self._slabs, self._slabs.limit)
            if key is None:
                return False
            self._slabs.discard(key)
        return True

    def _has_room(self, needed: int) -> bool:
        if self._index.volume() + needed > self._limit:
            return False
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize - needed >= self._reserve

    def _delete_orphans(self, known: set[str]) -> None:
        youngest = time.time() - _ORPHAN_SECONDS
        for path in self._folder.glob("??/??/*.val"):
            if self._stopping.is_set():
                return
            name = path.relative_to(self._folder).as_posix()
            with suppress(OSError):
                orphan = VALUE_NAME.fullmatch(name) and name not in known
                if orphan and path.lstat().st_mtime < youngest:
                    self._index.disk.remove(name)

    def _failed(self, error: Exception) -> None:
        transient = isinstance(error, OSError | Timeout) or (
            isinstance(error, sqlite3.OperationalError)
            and any(word in str(error) for word in _TRANSIENT)
        )
        if transient:
            level = logging.DEBUG if self.failed_writes > 1 else logging.WARNING
            _log.log(level, "the disk cache failed: %s", str(error) or type(error).__name__)
        elif not self._given_up:
            self._given_up = True
            _log.warning("the disk cache is damaged and off until the next mount: %s", error)
            for name in DATABASE_FILES:
                with suppress(OSError):
                    (self._folder / name).unlink()


def _all_of(*marks: bytes | bytearray) -> bytes:
    """Return the marks that stand in all of them, as far as the shortest goes."""
    length = min(map(len, marks))
    joint = -1
    for each in marks:
        joint &= int.from_bytes(each[:length], "little")
    return joint.to_bytes(length, "little")
