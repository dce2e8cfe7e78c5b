"""The disk tier: sealed values below one directory, bounded in size. For worker threads.

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from azfilesfs.cache.blocks import Lookup, SealedReader, Value
from azfilesfs.cache.disk import (
    DATABASE_FILES,
    VALUE_NAME,
    Flaw,
    Index,
    Timeout,
    looks_sound,
)
from azfilesfs.errors import ConfigurationError

_log = logging.getLogger("azfilesfs.cache")
# The version of the layout is part of the name: another layout starts beside this one, not inside
# it.
_FOLDER: Final = "blocks-1"
# A value file without a row may be one that another process is writing just now.
_ORPHAN_SECONDS: Final = 600.0
_TRANSIENT: Final = ("locked", "busy", "full")


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
    """Values on disk by key.

    Attributes:
        used_bytes: size of the store as of the last write or sweep.
        damaged: number of values that were found damaged, and removed.
        failed_writes: number of values that could not be written.
    """

    def __init__(self, folder: Path, index: Index, limit_bytes: int) -> None:
        """Use an index that ``open`` opened."""
        self.used_bytes = 0
        self.damaged = 0
        self.failed_writes = 0
        self._folder = folder
        self._index = index
        self._limit = limit_bytes
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

    def read(self, wanted: Mapping[int, Sequence[Lookup]]) -> dict[int, bytes]:
        """Return those blocks that are here whole, by the caller's numbers for them."""
        found: dict[int, bytes] = {}
        if self._given_up:
            return found
        try:
            with self._session(), _OpenValues(self) as values:
                for number, lookups in wanted.items():
                    blocks = (values.block(lookup) for lookup in lookups)
                    data = next((block for block in blocks if block is not None), None)
                    if data is not None:
                        found[number] = data
        except Exception as error:  # noqa: BLE001 - whatever a damaged cache provokes must be a miss
            self._failed(error)
        return found

    def write(self, key: str, data: bytes | memoryview) -> None:
        """Store a value, at the cost of the oldest ones."""
        if self._given_up or len(data) > self._limit:
            self.failed_writes += 1
            return
        try:
            value = Value.seal(key, data)
            with self._session():
                self._make_room(len(data))
                self._index.set(key, value)
                self.used_bytes = self._index.volume()
        except Exception as error:  # noqa: BLE001 - the bytes are clean: losing a copy costs one request
            self.failed_writes += 1
            self._failed(error)

    def sweep(self) -> None:
        """Bring counters, size and value files into line; ends early on ``stop``."""
        try:
            with self._session():
                known = self._index.reconcile()
                self._make_room(0)
                self.used_bytes = self._index.volume()
            self._delete_orphans(known)
        except Exception as error:  # noqa: BLE001 - as in read
            self._failed(error)

    def stop(self) -> None:
        """Have a running sweep end soon. Safe from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Close all connections; no other thread may be in here any more."""
        while self._idle:
            with suppress(sqlite3.Error):
                self._idle.pop().close()

    def open_value(self, lookup: Lookup) -> SealedReader | None:
        """Open a value and check its header; a damaged one is removed. Only inside a session."""
        stream = self._index.get(lookup.key)
        if stream is None:
            return None
        if isinstance(stream, Flaw):
            self.remove_damaged(lookup, "its file is missing or not a regular file")
            return None
        try:
            return SealedReader(stream, lookup)
        except (ValueError, OSError) as error:
            stream.close()
            self.remove_damaged(lookup, str(error))
            return None

    def remove_damaged(self, lookup: Lookup, reason: str) -> None:
        """Remove a value that cannot be believed, and say so. Only inside a session."""
        # After a power cut there can be thousands: the first is worth a warning.
        level = logging.DEBUG if self.damaged else logging.WARNING
        self.damaged += 1
        _log.log(level, "a value of the disk cache is damaged and removed: %s", reason)
        self._index.delete(lookup.key)

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

    def _make_room(self, needed: int) -> None:
        while self._index.volume() + needed > self._limit and not self._stopping.is_set():
            if not self._index.evict_oldest():
                return

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


class _OpenValues:
    """The values that one ``read`` has open, so that neighbouring blocks share one opening."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        self._readers: dict[str, SealedReader | None] = {}

    def block(self, lookup: Lookup) -> bytes | None:
        if lookup.key not in self._readers:
            self._readers[lookup.key] = self._store.open_value(lookup)
        reader = self._readers[lookup.key]
        if reader is None:
            return None
        try:
            return reader.block(lookup.position)
        except (ValueError, OSError) as error:
            self._store.remove_damaged(lookup, str(error))
            self._readers[lookup.key] = None
            reader.close()
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            if reader is not None:
                reader.close()
