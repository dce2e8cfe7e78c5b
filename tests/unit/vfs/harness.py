"""A filesystem over an emulator in process, and a program that uses it as one does through a mount.

Leaving a mount checks what must hold whatever happened: no lock held, no request in flight, every
table consistent, and after FORGET of everything nothing left but the root.
"""

import errno
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest
import trio

from azfilesfs import errors
from azfilesfs.cache import BlockCache
from azfilesfs.client import (
    BreakerPolicy,
    ClientOptions,
    Endpoint,
    RetryPolicy,
    RetryRule,
    Secret,
    ShareClient,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
    asgi_transport,
)
from azfilesfs.client.retry import default_rules
from azfilesfs.emulator.app import EmulatorApp, create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath, name_key
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import NEWEST
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.filesystem import FileSystem
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.staging import StagingArea
from azfilesfs.vfs.types import Attrs, DirEntry, SetAttr, VfsOptions

SHARE = "demo"
ROOT = 1

# The waits of the real rules would be waited for in real time; their numbers of attempts stay.
FAST_RETRIES = RetryPolicy(
    rules=MappingProxyType(
        {kind: RetryRule(rule.attempts, 0.0) for kind, rule in default_rules().items()}
    )
)
Asgi = Callable[..., Awaitable[None]]


class RecordingKernel:
    """A kernel that writes down what it is told to forget."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self.attributes: list[int] = []
        self.pages: list[int] = []
        self.entries: list[tuple[int, bytes]] = []
        self.backlog = 0

    def forget_attributes(self, ino: int) -> None:
        """Note it."""
        self.attributes.append(ino)

    def forget_pages(self, ino: int) -> None:
        """Note it."""
        self.pages.append(ino)

    def forget_entry(self, parent: int, name: bytes) -> None:
        """Note it."""
        self.entries.append((parent, name))

    async def drop_pages(self, ino: int) -> None:
        """Note it."""
        self.pages.append(ino)

    def clear(self) -> None:
        """Forget what was told."""
        self.attributes.clear()
        self.pages.clear()
        self.entries.clear()


def make_app(**options) -> EmulatorApp:
    """Make an emulator with one share."""
    return create_app(EmulatorOptions(shares=(SHARE,), **options))


def reading_on(app: Asgi) -> Asgi:
    """Read a request to its end whatever the application did: httpx leaves the rest of a body to
    the garbage collector, and that complains.
    """

    async def reading(scope, receive, send) -> None:
        has_more = True

        async def noted():
            nonlocal has_more
            message = await receive()
            has_more = message.get("more_body", False)
            return message

        try:
            await app(scope, noted, send)
        finally:
            with trio.CancelScope(shield=True):
                while has_more:
                    await noted()

    return reading


@asynccontextmanager
async def client(
    app: EmulatorApp,
    *,
    retry: RetryPolicy = FAST_RETRIES,
    version: str = NEWEST,
    wrap: Callable[[Asgi], Asgi] = lambda app: app,
) -> AsyncIterator[ShareClient]:
    """Connect to the share of an emulator."""
    endpoint = Endpoint(url=f"http://127.0.0.1:1/{DEFAULT_ACCOUNT}", account=DEFAULT_ACCOUNT)
    credentials = StaticCredentials(SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY)))
    options = ClientOptions(
        version=version, retry=retry, breaker=BreakerPolicy(failures=1_000_000_000)
    )
    transport = asgi_transport(reading_on(wrap(app)))
    async with ShareServiceClient.open(
        endpoint, credentials, options, transport=transport
    ) as service:
        yield service.share(SHARE)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when a task has been resumed so often."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, count: int) -> None:
        """Begin to count; the task's next step is the first."""
        self.task = task
        self.scope = scope
        self.left = count

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count."""
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@dataclass
class OpenFile:
    """A file descriptor of a program."""

    program: "Program"
    ino: int
    handle: int
    keep_cache: bool
    flags: int

    async def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Read at an offset, to the end of the file without a size."""
        result = bytearray()
        while size is None or len(result) < size:
            wanted = 128 * 1024 if size is None else min(128 * 1024, size - len(result))
            piece = await self.program.fs.read(self.handle, offset + len(result), wanted)
            if not piece:
                break
            result += piece
        return bytes(result)

    async def write(self, data: bytes, offset: int = 0) -> None:
        """Write at an offset, in pieces as large as the kernel's."""
        for start in range(0, len(data), MIB):
            piece = data[start : start + MIB]
            assert await self.program.fs.write(self.handle, offset + start, piece) == len(piece)

    async def truncate(self, size: int) -> None:
        """Set the size, as ftruncate(2)."""
        await self.program.fs.setattr(self.ino, SetAttr(size=size), self.handle)

    async def fsync(self) -> None:
        """Bring it to the service."""
        await self.program.fs.fsync(self.handle)

    async def stat(self) -> Attrs:
        """Return the attributes, as fstat(2)."""
        return (await self.program.fs.getattr(self.ino)).attrs

    async def close(self) -> None:
        """Close it; the descriptor is gone whatever the flush says."""
        try:
            await self.program.fs.flush(self.handle)
        finally:
            self.program.files.discard(self.handle)
            await self.program.fs.release(self.handle)


@dataclass
class Program:
    """Uses a filesystem by paths, and owes it a FORGET for every lookup."""

    fs: FileSystem
    kernel: RecordingKernel
    share: ShareClient
    staging: StagingArea
    lookups: Counter[int] = field(default_factory=Counter)
    files: set[int] = field(default_factory=set)
    directories: set[int] = field(default_factory=set)

    async def lookup(self, parent: int, name: bytes) -> Attrs:
        """Look one name up."""
        entry = await self.fs.lookup(parent, name)
        self.lookups[entry.attrs.ino] += 1
        return entry.attrs

    async def walk(self, path: str) -> tuple[int, bytes]:
        """Look up the directories of a path; return the last one and the last name."""
        *directories, name = path.split("/")
        parent = ROOT
        for directory in directories:
            parent = (await self.lookup(parent, directory.encode())).ino
        return parent, name.encode()

    async def stat(self, path: str) -> Attrs:
        """Look a path up and ask for its attributes, as stat(2) with nothing cached."""
        attrs = await self.lookup(*await self.walk(path))
        return (await self.fs.getattr(attrs.ino)).attrs

    async def exists(self, path: str) -> bool:
        """Tell whether a path can be looked up."""
        try:
            await self.lookup(*await self.walk(path))
        except VfsError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    async def open(self, path: str, flags: int = os.O_RDONLY) -> OpenFile:
        """Open as the kernel does: a lookup, then OPEN or CREATE; ESTALE of OPEN is tried again."""
        parent, name = await self.walk(path)
        try:
            ino = (await self.lookup(parent, name)).ino
        except VfsError as error:
            if error.errno != errno.ENOENT or not flags & os.O_CREAT:
                raise
            return await self.create(parent, name, flags)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise VfsError(errno.EEXIST)
        try:
            result = await self.fs.open_file(ino, flags)
        except VfsError as error:
            if error.errno != errno.ESTALE:
                raise
            return await self.open(path, flags)
        self.files.add(result.handle)
        return OpenFile(self, ino, result.handle, result.keep_cache, flags)

    async def create(self, parent: int, name: bytes, flags: int) -> OpenFile:
        """Send CREATE without a lookup before it."""
        result, entry = await self.fs.create(parent, name, flags | os.O_CREAT)
        self.lookups[entry.attrs.ino] += 1
        self.files.add(result.handle)
        return OpenFile(self, entry.attrs.ino, result.handle, result.keep_cache, flags)

    @asynccontextmanager
    async def opened(self, path: str, flags: int = os.O_RDONLY) -> AsyncIterator[OpenFile]:
        """Keep a file open during a block."""
        file = await self.open(path, flags)
        try:
            yield file
        finally:
            if file.handle in self.files:
                await file.close()

    async def write(
        self, path: str, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
    ) -> None:
        """Write a whole file, as ``cat > path`` does."""
        file = await self.open(path, flags)
        await file.write(data)
        await file.close()

    async def read(self, path: str) -> bytes:
        """Read a whole file."""
        async with self.opened(path) as file:
            return await file.read()

    async def mkdir(self, path: str) -> int:
        """Make a directory and return its inode number."""
        entry = await self.fs.mkdir(*await self.walk(path))
        self.lookups[entry.attrs.ino] += 1
        return entry.attrs.ino

    async def symlink(self, target: bytes, path: str) -> int:
        """Make a link and return its inode number."""
        entry = await self.fs.symlink(*await self.walk(path), target)
        self.lookups[entry.attrs.ino] += 1
        return entry.attrs.ino

    async def readlink(self, path: str) -> bytes:
        """Return the target of a link."""
        return await self.fs.readlink((await self.stat(path)).ino)

    async def unlink(self, path: str) -> None:
        """Remove a file; the kernel looks it up first."""
        parent, name = await self.walk(path)
        await self.lookup(parent, name)
        await self.fs.unlink(parent, name)

    async def rmdir(self, path: str) -> None:
        """Remove a directory."""
        parent, name = await self.walk(path)
        await self.lookup(parent, name)
        await self.fs.rmdir(parent, name)

    async def rename(self, old: str, new: str, flags: int = 0) -> None:
        """Rename."""
        await self.fs.rename(*await self.walk(old), *await self.walk(new), flags)

    async def entries(self, path: str = "", *, take: bool = True) -> list[DirEntry]:
        """Read a directory with attributes, taking every entry as readdirplus does."""
        ino = (await self.stat(path)).ino if path else ROOT
        handle = await self.fs.opendir(ino)
        self.directories.add(handle)
        found = []
        try:
            position = 0
            while part := await self._part(handle, position, take=take):
                found += part
                position = part[-1].offset
        finally:
            self.directories.discard(handle)
            await self.fs.releasedir(handle)
        return found

    async def _part(self, handle: int, position: int, *, take: bool) -> list[DirEntry]:
        """Read on in a directory, once; nothing is the end."""
        part = []
        for entry in await self.fs.readdir(handle, position):
            if take:
                self.fs.remember(entry.entry.attrs.ino)
                self.lookups[entry.entry.attrs.ino] += 1
            part.append(entry)
        return part

    async def names(self, path: str = "") -> list[bytes]:
        """Return the names of a directory, sorted."""
        return sorted(entry.name for entry in await self.entries(path))

    async def end(self) -> None:
        """Close and forget everything, as the kernel does at an unmount."""
        for handle in sorted(self.files):
            await self.fs.release(handle)
        for handle in sorted(self.directories):
            await self.fs.releasedir(handle)
        self.files.clear()
        self.directories.clear()
        await self.fs.forget(list(self.lookups.items()))
        self.lookups.clear()
        self.fs._namespace.prefetcher.release()


@asynccontextmanager
async def mounted(
    app: EmulatorApp,
    directory: Path,
    *,
    root: SharePath = SharePath.ROOT,
    staging_limit: int = 256 * MIB,
    cache_limit: int = 0,
    retry: RetryPolicy = FAST_RETRIES,
    version: str = NEWEST,
    wrap: Callable[[Asgi], Asgi] = lambda app: app,
    check: bool = True,
    **options,
) -> AsyncIterator[Program]:
    """Run a filesystem over the share, and check it when the block is left without an exception.

    TTLs are long unless given, so that only what a test is about asks the service.
    """
    for name in ("cache", "state"):
        (directory / name).mkdir(mode=0o700, exist_ok=True, parents=True)
    chosen = VfsOptions(
        **{
            "attr_ttl": 600.0,
            "dir_ttl": 600.0,
            "host_name": "host",
            "comparison_window": 0.0,
            **options,
        }
    )
    kernel = RecordingKernel()
    cache_settings = {"limit_bytes": cache_limit, "memory_bytes": 64 * MIB}
    async with (
        client(app, retry=retry, version=version, wrap=wrap) as share,
        BlockCache.open(directory / "cache", **cache_settings) as cache,
    ):
        with StagingArea.open(directory / "state", staging_limit, share=f"x/{SHARE}") as staging:
            async with FileSystem.open(
                share,
                root,
                chosen,
                cache=cache,
                staging=staging,
                kernel=kernel,
                session_record=directory / "state" / "sessions",
            ) as fs:
                program = Program(fs, kernel, fs._context.share, staging)
                yield program
                if check:
                    await listed(program)
                    check_tables(program)
                    await program.end()
                    await idle(program)
                    check_nothing_left(program)


async def listed(program: Program) -> None:
    """Wait until no listing is under way, and none is about to begin."""
    quiet = 0
    with trio.fail_after(10):
        while quiet < 5:  # a task that was started begins in one of the next turns
            await trio.lowlevel.checkpoint()
            quiet = 0 if program.fs._namespace._loader._loads else quiet + 1


async def idle(program: Program) -> None:
    """Wait until no upload runs and nothing is in flight."""
    with trio.fail_after(10):
        while (
            program.fs._flusher._queued
            or program.fs._namespace.prefetcher.holding
            or any(inode.is_locked for inode in program.fs._context.inodes)
        ):
            await trio.sleep(0)


def inodes_of(program: Program) -> list[Inode]:
    """Return every inode of a filesystem."""
    return list(program.fs._context.inodes)


def inode_of(program: Program, ino: int):
    """Return one inode."""
    inode = program.fs._context.inodes.number(ino)
    assert inode is not None
    return inode


def drop_blocks(program: Program, ino: int) -> None:
    """Empty the read cache of a file."""
    memory, validator = program.fs._context.cache._memory, inode_of(program, ino).validator
    memory.rename(validator, validator, lambda _: False)


def check_tables(program: Program) -> None:
    """Check that the tables of a filesystem agree, and that nothing is held."""
    context = program.fs._context
    assert context.gate.requests_in_flight == 0
    assert not context.gate._moving
    table = context.inodes
    known = {inode.number: inode for inode in table}
    for number, inode in known.items():
        assert table.number(number) is inode
        assert not inode.is_locked, inode
        if inode.parent is not None:
            assert inode.is_named, inode
            assert known.get(inode.parent.number) is inode.parent, inode
            assert table.child(inode.parent, inode.name) is inode
        else:
            assert inode is table.root or not inode.is_named, inode
        for key, child in inode.children.items():
            assert known.get(child.number) is child, (inode, child)
            assert child.parent is inode
            assert name_key(child.name) == key
        if inode.is_named and inode.file_id is not None:
            assert table.file_id(inode.file_id) is inode, inode
        if inode.place is Place.LOCAL:
            assert inode.dirty is not None, inode
        if inode.dirty is not None:
            assert inode.dirty.staged in program.staging._live, inode
    staged = {inode.dirty.staged for inode in known.values() if inode.dirty is not None}
    assert staged == program.staging._live
    listings = context.tree.listings
    assert listings.names == sum(len(view.entries) for view in listings._views.values())


def check_nothing_left(program: Program) -> None:
    """Check that a filesystem without handles and lookups holds nothing but what is still dirty."""
    check_tables(program)
    root = program.fs._context.inodes.root
    needed = {root}
    for inode in inodes_of(program):
        if inode.dirty is not None:
            needed |= set(inode.ancestors())
    assert set(inodes_of(program)) == needed
    assert program.fs.statistics().open_handles == 0
    views = program.fs._context.tree.listings._views
    assert set(views) <= needed


def expect(number: int):
    """Expect a VfsError with this errno."""
    return pytest.raises(VfsError, check=lambda error: error.errno == number)


@asynccontextmanager
async def other_client(app: EmulatorApp) -> AsyncIterator[ShareClient]:
    """Connect another host, which knows nothing of mounts."""
    async with client(app) as share:
        yield share


async def put(share: ShareClient, path: str, data: bytes) -> None:
    """Create or overwrite a file by other hands."""
    target = SharePath.parse(path)
    await share.create_file(target, len(data))
    for piece in ByteRange(0, len(data)).split(4 * MIB):
        await share.put_range(target, piece.start, data[piece.start : piece.stop])


async def get(share: ShareClient, path: str):
    """Return the content of a file as the service has it, None where there is none."""
    target = SharePath.parse(path)
    try:
        size = (await share.get_file_properties(target)).size
        return bytes((await share.get_file(target)).data) if size else b""
    except (errors.FileNotFound, errors.ParentNotFound):
        return None


def operations(app: EmulatorApp) -> Mapping[str, int]:
    """Return the numbers of requests by operation since the last reset."""
    counts = app.requests.counts()["operations"]
    return {name: sum(by_status.values()) for name, by_status in counts.items()}
