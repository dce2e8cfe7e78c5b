"""Two hosts in one process: filesystems over one emulator, driven as a kernel would drive them.

``World`` is the service; ``World.mount`` is one host's mount of it, a ``Host`` that walks paths,
keeps lookup counts and does what the kernel does about ESTALE at open. ``World.client`` is a third
party that knows nothing of mounts. ``World.before`` and ``World.after`` run something of the test's
between two requests.
"""

import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from azfilesfs.cache import BlockCache
from azfilesfs.client import (
    NO_RETRIES,
    ClientOptions,
    Credential,
    Endpoint,
    Secret,
    ShareClient,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
    asgi_transport,
)
from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.filesystem import FileSystem
from azfilesfs.vfs.kept import KeptRecord
from azfilesfs.vfs.staging import StagingArea
from azfilesfs.vfs.types import Attrs, OpenResult, SetAttr, SilentKernel, VfsOptions

GIB = 1 << 30
ROOT = 1

Scope = Mapping[str, Any]
Hook = Callable[[Scope], Awaitable[None]]


@contextmanager
def refused(*numbers: int) -> Iterator[None]:
    """Expect an operation to fail with one of these errnos."""
    with pytest.raises(VfsError) as caught:
        yield
    names = [errno.errorcode[number] for number in numbers]
    assert caught.value.errno in numbers, f"{caught.value}, expected {' or '.join(names)}"


@dataclass
class Interposed:
    """The emulator with hooks around each request, and answers of the test's own instead of its."""

    app: Callable[..., Awaitable[None]]
    before: list[Hook] = field(default_factory=list)
    after: list[Hook] = field(default_factory=list)
    instead: Callable[..., Awaitable[bool]] | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one request."""
        for hook in list(self.before):
            await hook(scope)
        if self.instead is None or not await self.instead(scope, receive, send):
            await self.app(scope, receive, send)
        for hook in list(self.after):
            await hook(scope)


@dataclass(frozen=True)
class Request:
    """What a hook can tell requests apart by."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, scope: Scope) -> "Request":
        """Read an ASGI scope."""
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        return cls(scope["method"], scope["path"], scope["query_string"].decode(), headers)

    @property
    def is_put_range(self) -> bool:
        """Whether it writes bytes."""
        return self.method == "PUT" and "comp=range" in self.query

    @property
    def is_head(self) -> bool:
        """Whether it asks for the properties of a file."""
        return self.method == "HEAD" and "restype" not in self.query

    @property
    def is_get(self) -> bool:
        """Whether it reads a file."""
        return self.method == "GET" and not self.query.startswith(("restype", "comp"))


class World:
    """The service, and the ways to reach it."""

    def __init__(self, folder: Path) -> None:
        """Start an emulator with one empty share."""
        self.folder = folder
        self.app = create_app(EmulatorOptions(shares=("demo",)))
        self.front = Interposed(self.app)
        self._hosts = 0

    @asynccontextmanager
    async def client(
        self, credential: Credential | None = None, **options: Any
    ) -> AsyncIterator[ShareClient]:
        """Reach the share as any program without a mount would; its requests pass no hook."""
        async with self._service(self.app, credential, ClientOptions(**options)) as service:
            yield service.share("demo")

    @asynccontextmanager
    async def mount(
        self,
        state: str | None = None,
        *,
        root: str = "",
        credential: Credential | None = None,
        staging_bytes: int = GIB,
        client: ClientOptions | None = None,
        **options: Any,
    ) -> AsyncIterator["Host"]:
        """Mount the share on a host of its own, or on the one that had this ``state`` before."""
        self._hosts += 1
        place = self.folder / (state or f"host{self._hosts}")
        for name in ("cache", "state"):
            (place / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        chosen = client or ClientOptions(retry=NO_RETRIES)
        async with (
            self._service(self.front, credential, chosen) as service,
            BlockCache.open(place / "cache", limit_bytes=GIB, memory_bytes=64 << 20) as cache,
        ):
            with StagingArea.open(
                place / "state", staging_bytes, share=f"{DEFAULT_ACCOUNT}/demo"
            ) as staging:
                kernel = RecordingKernel()
                async with FileSystem.open(
                    service.share("demo"),
                    SharePath.parse(root),
                    VfsOptions(**{"comparison_window": 0.0, **options}),
                    cache=cache,
                    staging=staging,
                    kernel=kernel,
                    session_record=place / "state" / "session",
                ) as filesystem:
                    yield Host(filesystem, staging, kernel)

    @asynccontextmanager
    async def _service(
        self, app: Callable[..., Any], credential: Credential | None, options: ClientOptions
    ) -> AsyncIterator[ShareServiceClient]:
        endpoint = Endpoint(url=f"http://127.0.0.1:1/{DEFAULT_ACCOUNT}", account=DEFAULT_ACCOUNT)
        chosen = credential or SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))
        async with ShareServiceClient.open(
            endpoint, StaticCredentials(chosen), options, transport=asgi_transport(app)
        ) as service:
            yield service

    # -- between requests ------------------------------------------------------------------------

    def before(self, when: Callable[[Request], bool], act: Callable[[], Awaitable[None]]) -> None:
        """Do something once, just before the first request of a mount that fits."""
        self.front.before.append(_once(when, act))

    def after(self, when: Callable[[Request], bool], act: Callable[[], Awaitable[None]]) -> None:
        """Do something once, just after the first request of a mount that fits was carried out."""
        self.front.after.append(_once(when, act))

    @contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """Collect the operations that the block leads to, and how often each was asked for."""
        found: dict[str, int] = {}
        self.app.requests.reset()
        yield found
        counts = self.app.requests.counts()["operations"]
        found.update({name: sum(answers.values()) for name, answers in counts.items()})

    @contextmanager
    def faults(self, *rules: Mapping[str, Any]) -> Iterator[None]:
        """Let requests go wrong as the rules of docs/emulator.md say, while the block runs."""
        self.app.faults.set_plan({"rules": list(rules)})
        yield
        self.app.faults.clear()

    def unreachable(self) -> Any:
        """Cut every connection while the block runs."""
        return self.faults({"cut": "before"})


def _once(when: Callable[[Request], bool], act: Callable[[], Awaitable[None]]) -> Hook:
    pending = [act]

    async def hook(scope: Scope) -> None:
        if pending and when(Request.of(scope)):
            await pending.pop()()

    return hook


class RecordingKernel(SilentKernel):
    """A kernel's caches, as far as tests want to know what they were told."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self.attributes: list[int] = []
        self.pages: list[int] = []
        self.entries: list[tuple[int, bytes]] = []
        self.backlog = 0

    def forget_attributes(self, ino: int) -> None:
        """Take note."""
        self.attributes.append(ino)

    def forget_pages(self, ino: int) -> None:
        """Take note."""
        self.pages.append(ino)

    def forget_entry(self, parent: int, name: bytes) -> None:
        """Take note."""
        self.entries.append((parent, name))


class File:
    """An open file description."""

    def __init__(
        self, host: "Host", ino: int, handle: int, *, flags: int, keep_cache: bool
    ) -> None:
        """Hold a handle; ``keep_cache`` is what the kernel was told at open."""
        self._fs = host.fs
        self._appends = bool(flags & os.O_APPEND)
        self.ino = ino
        self.handle = handle
        self.keep_cache = keep_cache

    async def pread(self, size: int, offset: int) -> bytes:
        """Read once."""
        return bytes(await self._fs.read(self.handle, offset, size))

    async def read(self) -> bytes:
        """Read to the end."""
        content = b""
        while piece := await self.pread(1 << 20, len(content)):
            content += piece
        return content

    async def pwrite(self, data: bytes, offset: int = 0) -> None:
        """Write, in pieces as the kernel cuts them, and from the end on where it appends."""
        if self._appends:
            offset = (await self.stat()).size
        for start in range(0, len(data), 1 << 20):
            piece = data[start : start + (1 << 20)]
            assert await self._fs.write(self.handle, offset + start, piece) == len(piece)

    async def stat(self) -> Attrs:
        """Answer fstat(2)."""
        return (await self._fs.getattr(self.ino)).attrs

    async def truncate(self, size: int) -> None:
        """Answer ftruncate(2)."""
        await self._fs.setattr(self.ino, SetAttr(size=size), self.handle)

    async def fsync(self) -> None:
        """Answer fsync(2)."""
        await self._fs.fsync(self.handle)

    async def flush(self) -> None:
        """Answer close(2) of one of several descriptors."""
        await self._fs.flush(self.handle)

    async def release(self) -> None:
        """Forget the handle, as after the last close."""
        await self._fs.release(self.handle)

    async def close(self) -> None:
        """Close the only descriptor; the handle is gone even where this fails."""
        try:
            await self.flush()
        finally:
            await self.release()


class Host:
    """One mount as programs on its host see it. Paths are bytes relative to the mountpoint."""

    def __init__(self, fs: FileSystem, staging: StagingArea, kernel: RecordingKernel) -> None:
        """Stand on a filesystem."""
        self.fs = fs
        self.staging = staging
        self.kernel = kernel

    @asynccontextmanager
    async def found(self, path: bytes) -> AsyncIterator[Attrs]:
        """Walk to an entry and hold its inode, as the kernel does, while the block runs."""
        held: list[int] = []
        try:
            attrs: Attrs | None = None
            for name in path.split(b"/") if path else []:
                folder = ROOT if attrs is None else attrs.ino
                attrs = (await self.fs.lookup(folder, name)).attrs
                held.append(attrs.ino)
            yield (await self.fs.getattr(ROOT)).attrs if attrs is None else attrs
        finally:
            await self.fs.forget([(ino, 1) for ino in held])

    @asynccontextmanager
    async def parent(self, path: bytes) -> AsyncIterator[tuple[int, bytes]]:
        """Walk to the directory of a path; yields its inode number and the last name."""
        folder, _, name = path.rpartition(b"/")
        if not folder:
            yield ROOT, name
            return
        async with self.found(folder) as attrs:
            yield attrs.ino, name

    async def stat(self, path: bytes) -> Attrs:
        """Answer lstat(2)."""
        async with self.found(path) as attrs:
            return attrs

    async def exists(self, path: bytes) -> bool:
        """Tell whether there is such an entry."""
        try:
            await self.stat(path)
        except VfsError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    async def open(self, path: bytes, flags: int = os.O_RDONLY) -> File:
        """Open as open(2): the kernel looks once more where the inode it knows turns out stale."""
        try:
            return await self._open(path, flags)
        except VfsError as error:
            if error.errno != errno.ESTALE:
                raise
            return await self._open(path, flags)

    async def _open(self, path: bytes, flags: int) -> File:
        if flags & os.O_CREAT:
            async with self.parent(path) as (folder, name):
                result, entry = await self.fs.create(folder, name, flags)
                await self.fs.forget([(entry.attrs.ino, 1)])
                return self._file(entry.attrs.ino, result, flags)
        async with self.found(path) as attrs:
            result = await self.fs.open_file(attrs.ino, flags)
            return self._file(attrs.ino, result, flags)

    def _file(self, ino: int, result: OpenResult, flags: int) -> File:
        return File(self, ino, result.handle, flags=flags, keep_cache=result.keep_cache)

    async def create(self, path: bytes, flags: int = 0) -> File:
        """Open for reading and writing, making the file where there is none."""
        return await self.open(path, os.O_CREAT | os.O_RDWR | flags)

    async def write(self, path: bytes, data: bytes, flags: int = os.O_TRUNC) -> None:
        """Write a whole file and close it."""
        file = await self.create(path, flags)
        try:
            await file.pwrite(data)
        finally:
            await file.close()

    async def read(self, path: bytes) -> bytes:
        """Read a whole file."""
        file = await self.open(path)
        try:
            return await file.read()
        finally:
            await file.close()

    async def listdir(self, path: bytes = b"") -> list[bytes]:
        """List the names of a directory."""
        return [name for name, _ in await self.scan(path)]

    async def scan(self, path: bytes = b"") -> list[tuple[bytes, Attrs]]:
        """List a directory with the attributes that readdirplus gives."""
        async with self.found(path) as attrs:
            handle = await self.fs.opendir(attrs.ino)
            shown: list[tuple[bytes, Attrs]] = []
            position = 0
            while part := list(await self.fs.readdir(handle, position)):
                shown += [(entry.name, entry.entry.attrs) for entry in part]
                position = part[-1].offset
            await self.fs.releasedir(handle)
            return shown

    async def mkdir(self, path: bytes) -> None:
        """Make a directory."""
        async with self.parent(path) as (folder, name):
            entry = await self.fs.mkdir(folder, name)
            await self.fs.forget([(entry.attrs.ino, 1)])

    async def symlink(self, target: bytes, path: bytes) -> None:
        """Make a symbolic link."""
        async with self.parent(path) as (folder, name):
            entry = await self.fs.symlink(folder, name, target)
            await self.fs.forget([(entry.attrs.ino, 1)])

    async def readlink(self, path: bytes) -> bytes:
        """Return the target of a link."""
        async with self.found(path) as attrs:
            assert stat.S_ISLNK(attrs.mode)
            return await self.fs.readlink(attrs.ino)

    async def unlink(self, path: bytes) -> None:
        """Remove a file."""
        async with self.parent(path) as (folder, name):
            await self.fs.unlink(folder, name)

    async def rmdir(self, path: bytes) -> None:
        """Remove a directory."""
        async with self.parent(path) as (folder, name):
            await self.fs.rmdir(folder, name)

    async def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        """Move an entry."""
        async with self.parent(old) as (folder, name), self.parent(new) as (target, new_name):
            await self.fs.rename(folder, name, target, new_name, flags)

    async def setattr(self, path: bytes, **changes: int) -> Attrs:
        """Change attributes by path: truncate(2), utimensat(2), chmod(2), chown(2)."""
        async with self.found(path) as attrs:
            return (await self.fs.setattr(attrs.ino, SetAttr(**changes), None)).attrs

    def unsent(self, file: File) -> DirtyFile:
        """Return the local changes of a file, of which there are some."""
        inode = self.fs._context.inodes.number(file.ino)
        assert inode is not None
        assert inode.dirty is not None
        return inode.dirty

    def kept(self) -> list[KeptRecord]:
        """Return what ``azfilesfs recover list`` would show."""
        return self.staging.kept()


async def put(share: ShareClient, path: str, data: bytes) -> None:
    """Write a file as a program without a mount does: replace all of it."""
    where = SharePath.parse(path)
    await share.create_file(where, len(data))
    for start in range(0, len(data), RANGE_BYTES):
        await share.put_range(where, start, data[start : start + RANGE_BYTES])


async def get(share: ShareClient, path: str) -> bytes:
    """Read a file as a program without a mount does."""
    where = SharePath.parse(path)
    size = (await share.get_file_properties(where)).size
    return bytes((await share.get_file(where)).data) if size else b""
