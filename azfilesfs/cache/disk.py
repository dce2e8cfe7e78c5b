"""diskcache made safe: the only module that imports it.

The stock ``Disk`` pickles what it does not know, believes the file names and modes that its
database holds, and writes bytes line by line. ``SealedDisk`` stores ``Value`` objects only, in
large writes; it never unpickles, never leaves its directory, and opens regular files only.
``Index`` is the database with it. Everything here is synchronous and runs in worker threads.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import sqlite3
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA, MODE_BINARY, MODE_RAW

from azfilesfs.cache.blocks import Buffer
from azfilesfs.model.buffers import is_page_aligned
from azfilesfs.model.limits import KIB, MIB

VALUE_NAME: Final = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
DATABASE_FILES: Final = (DBNAME, f"{DBNAME}-wal", f"{DBNAME}-shm")
_BUSY_SECONDS: Final = 5.0
_ALIGNED: Final = 4 * KIB
_COPY_BYTES: Final = 256 * KIB
_DIRECT_BYTES: Final = MIB
_SCHEMA: Final = {
    "Settings",
    "Cache",
    "sqlite_autoindex_Settings_1",
    "Cache_key_raw",
    "Cache_expire_time",
    "Cache_store_time",
    "Settings_count_insert",
    "Settings_count_delete",
    "Settings_size_insert",
    "Settings_size_update",
    "Settings_size_delete",
}

Timeout = diskcache.Timeout
"""The database stayed locked by another process."""


class Value(NamedTuple):
    """A new slab as it is stored first.

    Attributes:
        header: stands at the start.
        start: where the data begins.
        data: some of the slab's bytes; the rest of the file is a hole.
        is_small: whether it goes into the database; then the data follows the header at once.
    """

    header: bytes
    start: int
    data: Buffer
    is_small: bool


class Descriptor:
    """An open file, closed when nobody uses it any more: threads may still be reading from it."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def read_into(self, area: memoryview, start: int) -> int:
        """Fill a buffer from ``start`` on; return how many bytes there were.

        Whole pages go past the page cache where the disk can do that: the kernel is about to keep
        them as pages of the mount's own file, and a second copy costs more than the disk does.

        Raises:
            OSError: they cannot be read.
        """
        if is_page_aligned(area) and start % _ALIGNED == 0:
            with suppress(OSError):
                if self._read_direct(area, start) == len(area):
                    return len(area)
        return os.preadv(self.number, [area], start)

    def _read_direct(self, area: memoryview, start: int) -> int:
        # The flag belongs to an opening, and this file is read through the page cache as well. By
        # its number it is the same file for certain, also when it has been removed.
        flags = os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC
        descriptor = os.open(f"/proc/self/fd/{self.number}", flags)
        try:
            return os.preadv(descriptor, [area], start)
        finally:
            os.close(descriptor)

    def __del__(self) -> None:
        os.close(self.number)


class Flaw:
    """What a row yields whose value is missing or must not be touched."""


FLAW: Final = Flaw()


class SealedDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache ships no types
    """Keys are text, values are ``Value``; every other way in or out is refused."""

    _is_direct = True
    _area: mmap.mmap | None = None

    def put(self, key: object) -> tuple[str, Literal[True]]:
        """Return the database's form of a key.

        Raises:
            TypeError: the key is not text.
        """
        if type(key) is not str:
            raise TypeError("keys of the block cache are text")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """Return the key that the database holds.

        Raises:
            TypeError: it is not text as ``put`` stored it.
        """
        if type(key) is not str or raw != 1:
            raise TypeError("the database holds a foreign key")
        return key

    def store(
        self, value: object, read: object, key: object = None
    ) -> tuple[int, int, str | None, bytes | None]:
        """Write a value, small ones into the database; return size, mode, file name and blob.

        Raises:
            TypeError: it is not a ``Value``.
            OSError: it could not be written whole; nothing is left of it.
        """
        if type(value) is not Value or read:
            raise TypeError("the block cache stores sealed values only")
        if value.is_small:
            return 0, MODE_RAW, None, value.header + bytes(value.data)
        name, path = self.filename()
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if not self._write_direct(path, value):
            _write_new(path, 0, (value.start, [value.data]), (0, [value.header]))
        return len(value.header) + len(value.data), MODE_BINARY, name, None

    def _write_direct(self, path: str, value: Value) -> bool:
        """Write a large value past the page cache; return False where the disk cannot do that.

        The kernel has the bytes as pages of the mount's own file already, and copying them into
        pages that nobody reads costs more than anything else here. One thread writes.

        Raises:
            OSError: it could not be written whole; nothing is left of it.
        """
        if not self._is_direct or len(value.data) < _DIRECT_BYTES or value.start != _ALIGNED:
            return False
        # The header is copied to where a page begins, the data only if it does not begin there.
        apart = value.data if is_page_aligned(value.data) else b""
        together = value if not apart else value._replace(data=b"")
        length = _aligned(value.start + len(together.data))
        if self._area is None or len(self._area) < length:
            self._area = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with memoryview(self._area) as area:
            _lay_out(area[:length], together)
            try:
                _write_new(path, os.O_DIRECT, (0, [area[:length], apart]))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._is_direct = False
        return self._is_direct

    def fetch(
        self, mode: object, filename: object, value: object, read: object
    ) -> bytes | Descriptor | Flaw:
        """Return what a row holds, or the open file that it points at."""
        if mode == MODE_RAW and type(value) is bytes:
            return value
        if mode != MODE_BINARY or not _is_value_name(filename):
            return FLAW
        with suppress(OSError):
            return _open_regular(os.path.join(self._directory, str(filename)))
        return FLAW

    def remove(self, file_path: object) -> None:
        """Delete a value's file, and its folders if they become empty; spare foreign names."""
        if not _is_value_name(file_path):
            return
        path = Path(self._directory, str(file_path))
        with suppress(OSError):
            path.unlink()
        with suppress(OSError):
            path.parent.rmdir()
            path.parent.parent.rmdir()


class Index(diskcache.Cache):  # type: ignore[misc]  # diskcache ships no types
    """The database of the cache. A thread uses it only inside ``session``."""

    def __init__(self, directory: Path) -> None:
        """Open or create it; the constructing thread's connection is closed again.

        Raises:
            sqlite3.Error, Timeout: the database is damaged or cannot be used.
        """
        # Each setting is given, so that none is taken from what the database holds.
        super().__init__(
            str(directory),
            timeout=_BUSY_SECONDS,
            disk=SealedDisk,
            **DEFAULT_SETTINGS
            | {
                "eviction_policy": "least-recently-stored",
                # The store makes room itself, before it writes, and nothing expires: looking for
                # what to cull would double the statements of a set.
                "size_limit": 2**62,
                "cull_limit": 0,
                # A mapped database that is cut short by someone else would kill the process by
                # SIGBUS.
                "sqlite_mmap_size": 0,
            },
        )
        self.close()

    def connect(self) -> sqlite3.Connection:
        """Open a connection that may move between threads, one at a time."""
        connection = sqlite3.connect(
            os.path.join(self.directory, DBNAME),
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        for pragma in ("synchronous = NORMAL", "mmap_size = 0", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}").close()
        return connection

    @contextmanager
    def session(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Let the calling thread use the index with this connection."""
        self._local.pid = os.getpid()
        self._local.con = connection
        try:
            yield
        finally:
            del self._local.con

    def keys_between(self, start: str, stop: str) -> list[str]:
        """Return the keys from one text up to another.

        Raises:
            sqlite3.Error: the database is damaged or cannot be used.
        """
        rows = self._sql("SELECT key FROM Cache WHERE key >= ? AND key < ?", (start, stop))
        return [key for (key,) in rows.fetchall() if isinstance(key, str)]

    def grow(self, key: str, amount: int) -> None:
        """Count some more bytes for a value.

        Raises:
            sqlite3.Error, Timeout: the database is damaged or cannot be used.
        """
        with self._transact(retry=False) as (sql, _):
            sql("UPDATE Cache SET size = size + ? WHERE key = ?", (amount, key))

    def evict_oldest(self, spared: Container[str], most_spared: int) -> str | None:
        """Drop the value that was stored first; return its key, None where there is no value.

        Those in ``spared``, ``most_spared`` at most, stay as long as there are others.

        Raises:
            sqlite3.Error, Timeout: the database is damaged or cannot be used.
        """
        with self._transact(retry=False) as (sql, cleanup):
            rows = sql(
                "SELECT rowid, key, filename FROM Cache ORDER BY store_time LIMIT ?",
                (most_spared + 1,),
            ).fetchall()
            if not rows:
                return None
            rowid, key, filename = next((row for row in rows if row[1] not in spared), rows[0])
            sql("DELETE FROM Cache WHERE rowid = ?", (rowid,))
            cleanup(filename)
        return str(key)

    def reconcile(self) -> set[str]:
        """Set counters right that a crash left wrong; return the names of all value files.

        Raises:
            sqlite3.Error, Timeout: the database is damaged or cannot be used.
        """
        with self._transact(retry=False) as (sql, _):
            rows = sql("SELECT size, filename FROM Cache").fetchall()
            sizes = sum(size for size, _ in rows if isinstance(size, int))
            for name, figure in (("count", len(rows)), ("size", sizes)):
                sql("UPDATE Settings SET value = ? WHERE key = ?", (figure, name))
        return {name for _, name in rows if isinstance(name, str)}


def looks_sound(directory: Path) -> bool:
    """Tell whether the database, if there is one, has our tables and settings and no others.

    diskcache sets an attribute for each setting that it finds and builds pragmas from them, so a
    foreign one must not reach it.
    """
    path = directory / DBNAME
    if not os.path.lexists(path):
        return True
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
        try:
            connection.execute("PRAGMA trusted_schema = OFF").close()
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            settings = dict(connection.execute("SELECT key, value FROM Settings"))
        finally:
            connection.close()
    except (sqlite3.Error, ValueError):
        return False
    return names <= _SCHEMA and all(
        name in DEFAULT_SETTINGS or (name in METADATA and isinstance(value, int))
        for name, value in settings.items()
    )


def _is_value_name(name: object) -> bool:
    return isinstance(name, str) and VALUE_NAME.fullmatch(name) is not None


def _write_new(path: str, flags: int, *parts: tuple[int, list[Buffer]]) -> None:
    flags |= os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
        try:
            for start, pieces in parts:
                write_at(descriptor, start, *pieces)
        finally:
            os.close(descriptor)
    except BaseException:
        # Where O_DIRECT is refused, the file is there nevertheless.
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise


def _aligned(length: int) -> int:
    return -(-length // _ALIGNED) * _ALIGNED


def _lay_out(area: memoryview, value: Value) -> None:
    """Put a value into a buffer as it stands in its file."""
    end = value.start + len(value.data)
    area[: len(value.header)] = value.header
    area[len(value.header) : value.start] = bytes(value.start - len(value.header))
    data = memoryview(value.data)
    # In parts: other threads stand still while one copies.
    for start in range(0, len(data), _COPY_BYTES):
        part = data[start : start + _COPY_BYTES]
        area[value.start + start : value.start + start + len(part)] = part
    area[end:] = bytes(len(area) - end)


def write_at(descriptor: int, start: int, *pieces: Buffer) -> None:
    """Write bytes, one piece after the other, with one call.

    Raises:
        OSError: they could not be written whole.
    """
    if os.pwritev(descriptor, pieces, start) != sum(map(len, pieces)):
        raise OSError("a write was cut short")


def _open_regular(path: str) -> Descriptor:
    # O_NONBLOCK: opening a FIFO must not wait for its writer.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = Descriptor(os.open(path, flags))
    if not stat.S_ISREG(os.fstat(descriptor.number).st_mode):
        raise OSError("not a regular file")
    return descriptor
