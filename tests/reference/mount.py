"""A filesystem over an emulator in this process, driven as the kernel would drive it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path as LocalPath
from queue import SimpleQueue
from typing import Any, TypeVar

import trio
from trio.testing import MockClock

from azfilesfs.cache import BlockCache
from azfilesfs.client import (
    Endpoint,
    Secret,
    ShareClient,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
    asgi_transport,
)
from azfilesfs.emulator.app import EmulatorApp
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from azfilesfs.model.limits import GIB, MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.filesystem import FileSystem, FsStatistics
from azfilesfs.vfs.staging import StagingArea
from azfilesfs.vfs.types import ROOT_INODE, DirEntry, Entry, SetAttr, SilentKernel, VfsOptions

SHARE = "share"
_STUCK_SECONDS = 1200  # of the filesystem's clock, which may run fast
T = TypeVar("T")
Path = tuple[bytes, ...]


@asynccontextmanager
async def open_share(app: EmulatorApp):
    """Open the share of an emulator."""
    endpoint = Endpoint.of_url(f"http://127.0.0.1:1/{DEFAULT_ACCOUNT}", DEFAULT_ACCOUNT)
    credentials = StaticCredentials(SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY)))
    async with ShareServiceClient.open(
        endpoint, credentials, transport=asgi_transport(app)
    ) as service:
        yield service.share(SHARE)


class Mount:
    """One life of a filesystem, in a thread with a trio loop of its own.

    ``counts`` are the lookup counts that the kernel would have.
    """

    def __init__(
        self,
        app: EmulatorApp,
        directory: LocalPath,
        options: VfsOptions,
        *,
        clock_rate: float = 1.0,
    ) -> None:
        """Open the filesystem; ``directory`` holds its state and its cache.

        ``clock_rate`` makes its clock run faster, so that waits before retries take no time.
        """
        self._app = app
        self._directory = directory
        self._options = options
        self._clock = MockClock(rate=clock_rate)
        self._ready: SimpleQueue[trio.lowlevel.TrioToken | BaseException] = SimpleQueue()
        self._failures: list[BaseException] = []
        self.is_closed = False
        self.counts: Counter[int] = Counter()
        self.open_inodes: Counter[int] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        token = self._ready.get(timeout=60)
        if isinstance(token, BaseException):
            raise token
        self._token = token

    def _run(self) -> None:
        try:
            trio.run(self._serve, clock=self._clock)
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits
            self._failures.append(error)
            self._ready.put(error)

    async def _serve(self) -> None:
        state, cache = self._directory / "state", self._directory / "cache"
        state.mkdir(mode=0o700, exist_ok=True)
        cache.mkdir(mode=0o700, exist_ok=True)
        self._stop = trio.Event()
        async with AsyncExitStack() as stack:
            self.share: ShareClient = await stack.enter_async_context(open_share(self._app))
            blocks = await stack.enter_async_context(
                BlockCache.open(cache, limit_bytes=GIB, memory_bytes=64 * MIB)
            )
            self.staging = stack.enter_context(
                StagingArea.open(state, GIB, share=f"{DEFAULT_ACCOUNT}/{SHARE}")
            )
            self.fs = await stack.enter_async_context(
                FileSystem.open(
                    self.share,
                    SharePath.ROOT,
                    self._options,
                    cache=blocks,
                    staging=self.staging,
                    kernel=SilentKernel(),
                    session_record=state / "sessions",
                )
            )
            self._ready.put(trio.lowlevel.current_trio_token())
            await self._stop.wait()

    def call(self, operation: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run one coroutine function in the filesystem's loop."""

        async def bounded() -> T:
            with trio.fail_after(_STUCK_SECONDS):
                return await operation(*arguments)

        return trio.from_thread.run(bounded, trio_token=self._token)

    def close(self) -> None:
        """End the filesystem without draining."""
        self.is_closed = True
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self._failures == []

    def pass_time(self, seconds: float) -> None:
        """Have the filesystem's clock jump."""
        trio.from_thread.run_sync(self._clock.jump, seconds, trio_token=self._token)

    def statistics(self) -> FsStatistics:
        """Return the gauges."""
        return trio.from_thread.run_sync(self.fs.statistics, trio_token=self._token)

    # -- what the kernel does --------------------------------------------------------------------

    def _count(self, entry: Entry) -> Entry:
        if entry.attrs.ino == 0:
            raise VfsError(errno.ENOENT)
        self.counts[entry.attrs.ino] += 1
        return entry

    def lookup(self, path: Path) -> Entry:
        """Walk a path and return its last entry."""
        number = ROOT_INODE
        entry = None
        for name in path:
            if entry is not None and not stat.S_ISDIR(entry.attrs.mode):
                raise VfsError(errno.ENOTDIR)
            entry = self._count(self.call(self.fs.lookup, number, name))
            number = entry.attrs.ino
        return entry if entry is not None else self.call(self.fs.getattr, ROOT_INODE)

    def parent(self, path: Path) -> int:
        """Walk to the directory of a path."""
        entry = self.lookup(path[:-1])
        if not stat.S_ISDIR(entry.attrs.mode):
            raise VfsError(errno.ENOTDIR)
        return entry.attrs.ino

    def open(self, path: Path, flags: int) -> tuple[int, int]:
        """Open a file as open(2) does; return handle and inode."""
        parent = self.parent(path)
        try:
            entry = self._count(self.call(self.fs.lookup, parent, path[-1]))
        except VfsError as error:
            if error.errno != errno.ENOENT or not flags & os.O_CREAT:
                raise
            opened, entry = self.call(self.fs.create, parent, path[-1], flags)
            self._count(entry)
        else:
            if flags & os.O_CREAT and flags & os.O_EXCL:
                raise VfsError(errno.EEXIST)
            if stat.S_ISDIR(entry.attrs.mode):
                raise VfsError(errno.EISDIR)
            opened = self.call(self.fs.open_file, entry.attrs.ino, flags & ~os.O_CREAT)
        self.open_inodes[entry.attrs.ino] += 1
        return opened.handle, entry.attrs.ino

    def release(self, handle: int, ino: int) -> None:
        """End an open file, without the flush of close(2)."""
        self.call(self.fs.release, handle)
        self.open_inodes[ino] -= 1

    def mkdir(self, path: Path) -> None:
        """Make a directory."""
        self._count(self.call(self.fs.mkdir, self.parent(path), path[-1]))

    def symlink(self, path: Path, target: bytes) -> None:
        """Make a symbolic link."""
        self._count(self.call(self.fs.symlink, self.parent(path), path[-1], target))

    def remove(self, path: Path, *, directory: bool) -> None:
        """Remove a file, or a directory."""
        parent = self.parent(path)
        entry = self._count(self.call(self.fs.lookup, parent, path[-1]))
        if stat.S_ISDIR(entry.attrs.mode) != directory:
            raise VfsError(errno.ENOTDIR if directory else errno.EISDIR)
        self.call(self.fs.rmdir if directory else self.fs.unlink, parent, path[-1])

    def rename(self, old: Path, new: Path, flags: int) -> None:
        """Move an entry; the kernel itself answers where both names are one inode."""
        source, target = self.parent(old), self.parent(new)
        found = self._count(self.call(self.fs.lookup, source, old[-1]))
        try:
            there = self._count(self.call(self.fs.lookup, target, new[-1]))
        except VfsError as error:
            if error.errno != errno.ENOENT:
                raise
        else:
            if there.attrs.ino == found.attrs.ino:
                return
        self.call(self.fs.rename, source, old[-1], target, new[-1], flags)

    def truncate(self, path: Path, size: int) -> None:
        """Set the size of a file by its name."""
        entry = self.lookup(path)
        if stat.S_ISDIR(entry.attrs.mode):
            raise VfsError(errno.EISDIR)
        self.call(self.fs.setattr, entry.attrs.ino, SetAttr(size=size), None)

    def readdir(self, path: Path) -> dict[bytes, DirEntry]:
        """List a directory, a few entries a request."""
        entry = self.lookup(path)
        if not stat.S_ISDIR(entry.attrs.mode):
            raise VfsError(errno.ENOTDIR)
        handle = self.call(self.fs.opendir, entry.attrs.ino)
        found: dict[bytes, DirEntry] = {}
        offset = 0
        while batch := self.call(self._batch, handle, offset):
            for item in batch:
                assert item.name not in found
                found[item.name] = item
                self.counts[item.entry.attrs.ino] += 1
                offset = item.offset
        self.call(self.fs.releasedir, handle)
        return found

    async def _batch(self, handle: int, offset: int) -> list[DirEntry]:
        batch: list[DirEntry] = []
        for item in await self.fs.readdir(handle, offset):
            if len(batch) == 3:
                break
            self.fs.remember(item.entry.attrs.ino)
            batch.append(item)
        return batch

    def read_file(self, path: Path) -> bytes:
        """Open, read and close a whole file."""
        handle, ino = self.open(path, os.O_RDONLY)
        content = bytearray()
        while piece := bytes(self.call(self.fs.read, handle, len(content), MIB)):
            content += piece
        self.call(self.fs.flush, handle)
        self.release(handle, ino)
        return bytes(content)

    def forget_unused(self) -> None:
        """Drop the kernel's caches: every inode that is not open, and is not the root."""
        gone = [
            (ino, count)
            for ino, count in self.counts.items()
            if ino != ROOT_INODE and not self.open_inodes[ino]
        ]
        self.call(self.fs.forget, gone)
        for ino, _ in gone:
            del self.counts[ino]

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, DirEntry]]:
        """Yield every entry below a directory."""
        for name, item in self.readdir(path).items():
            yield (*path, name), item
            if stat.S_ISDIR(item.entry.attrs.mode):
                yield from self.walk((*path, name))
