"""The filesystem.

One method an operation, inode numbers and byte names in, neutral structures out, ``VfsError`` for
failures.

Drives the parts of this package and holds nothing of their subjects. Called from any number of
tasks of one trio loop. A cancelled operation has happened or has not; uploads go on in the
filesystem's own tasks.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from azfilesfs.cache import BlockCache
from azfilesfs.client import ShareClient
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.attributes import AttributeView
from azfilesfs.vfs.capacity import Capacity
from azfilesfs.vfs.changing import AttributeChanger
from azfilesfs.vfs.conflicts import ConflictResolver
from azfilesfs.vfs.context import Context, Lower
from azfilesfs.vfs.directories import DirectoryReader
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.exclusive import ExclusiveMaker
from azfilesfs.vfs.flusher import Flusher
from azfilesfs.vfs.gate import PathGate
from azfilesfs.vfs.handles import FileHandle
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.links import Links
from azfilesfs.vfs.locking.effects import ContentEffects
from azfilesfs.vfs.locking.journal import LockJournal
from azfilesfs.vfs.locking.manager import LockManager
from azfilesfs.vfs.locking.requests import LockRequests
from azfilesfs.vfs.locks.observer import LockObserver, NoLockObserver
from azfilesfs.vfs.making import Maker
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.opening import Opener
from azfilesfs.vfs.private import PrivateDirectory
from azfilesfs.vfs.promises import send_acknowledged
from azfilesfs.vfs.reading import FileReader
from azfilesfs.vfs.removal import Remover
from azfilesfs.vfs.renaming import Renamer
from azfilesfs.vfs.staging import StagingArea
from azfilesfs.vfs.sweeper import Sweeper
from azfilesfs.vfs.translation import translated
from azfilesfs.vfs.types import (
    DirEntry,
    Entry,
    KernelNotifier,
    OpenResult,
    SetAttr,
    StatFs,
    VfsOptions,
)
from azfilesfs.vfs.upload import Uploader
from azfilesfs.vfs.writing import Writer

_LOCK_JOURNAL = "locks"
_LOG = logging.getLogger(__name__)


class FsStatistics(NamedTuple):
    """Gauges: bytes and files that are dirty, open handles, inodes and listed names in memory."""

    dirty_bytes: int
    dirty_files: int
    open_handles: int
    inodes: int
    cached_names: int


class FileSystem:
    """A share, or a directory of it, as a POSIX filesystem. Made by ``open``."""

    def __init__(self, context: Context, record: Path) -> None:
        self._context = context
        self._inodes = context.inodes
        self._handles = context.handles
        self._namespace = Namespace(context)
        self._attributes = AttributeView(context)
        self._links = Links(context)
        self._capacity = Capacity(context)
        self._private = PrivateDirectory(context.share, record)
        uploader = Uploader(context)
        conflicts = ConflictResolver(context, uploader)
        self._flusher = Flusher(context, uploader, conflicts)
        exclusive = ExclusiveMaker(context, self._private)
        effects = ContentEffects(context, self._namespace, self._flusher, conflicts, exclusive)
        context.locks.attach(effects, context.inodes)
        self.locks = LockRequests(context)
        self._writer = Writer(context, self._flusher)
        self._reader = FileReader(context, self._namespace)
        self._opener = Opener(context, self._namespace, self._writer, self._flusher, exclusive)
        self._remover = Remover(context, self._namespace, self._private)
        self._renamer = Renamer(
            context, self._namespace, self._flusher, self._remover, self._private
        )
        self._maker = Maker(context, self._namespace, self._links, self._private)
        self._changer = AttributeChanger(
            context, self._namespace, self._attributes, self._writer, self._flusher
        )
        self._directories = DirectoryReader(context, self._namespace, self._attributes, self._links)

    @classmethod
    @asynccontextmanager
    async def open(  # noqa: PLR0913  # the layers below, each by keyword
        cls,
        share: ShareClient,
        root: SharePath,
        options: VfsOptions,
        *,
        cache: BlockCache,
        staging: StagingArea,
        kernel: KernelNotifier,
        session_record: Path,
        lock_observer: LockObserver | None = None,
    ) -> AsyncIterator[FileSystem]:
        """Run a filesystem over a directory of a share.

        Leaving the block ends its uploads where they are: ``drain`` first. What is dirty then stays
            in the staging area.
        ``session_record`` is a file in the mount's state directory that outlives a crash; the
            journal of locks lies beside it.
        """
        async with trio.open_nursery() as nursery:
            journal = LockJournal(session_record.with_name(_LOCK_JOURNAL))
            gate = PathGate()
            locks = LockManager(share, gate, journal, options.locks, nursery)
            if options.read_only:
                locks.forbid("the mount is read-only")
            locks.observe(lock_observer or NoLockObserver())
            lower = Lower(share.fenced(locks.fence), cache, staging, kernel)
            context = Context.build(root, options, lower, locks, gate)
            filesystem = cls(context, session_record)
            nursery.start_soon(filesystem._flusher.retry_failed)
            nursery.start_soon(Sweeper(context).run)
            nursery.start_soon(locks.run)
            if not options.read_only:
                nursery.start_soon(filesystem._sweep_earlier)
            try:
                yield filesystem
            finally:
                nursery.cancel_scope.cancel()

    # -- life ------------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed through this filesystem."""
        return self._context.options.read_only

    @translated
    async def check(self) -> None:
        """Ask the service for the root directory, so that a wrong name or credential is found
        before the mount. Then send what an earlier process had acknowledged.
        """
        root = self._inodes.root
        async with self._context.gate.path(root) as path:
            properties = await self._context.share.get_directory_properties(path)
        self._context.tree.take(root, properties, self._context.now())
        if not self.read_only:
            deadline = self._context.options.operation_deadline
            await send_acknowledged(self._context.share, self._context.staging, deadline)

    async def drain(self) -> int:
        """Bring everything to the service; return the number of files that could not be sent.

        Also removes our temporary files from the share, as far as the service answers.
        """
        unsent = await self._flusher.drain()
        if not self.read_only:
            await self._private.sweep()
        return unsent

    async def end_locks(self) -> None:
        """Give up what is locked at the service and end the session there; the caller limits it."""
        await self._context.locks.end()

    async def _sweep_earlier(self) -> None:
        """Remove what a crash of an earlier mount left in our directory on the share."""
        try:
            await self._private.sweep(earlier_only=True)
        except Exception as error:  # noqa: BLE001  # a task of its own must not end the filesystem
            _LOG.info("leftovers of an earlier mount are swept later: %s", error)

    def statistics(self) -> FsStatistics:
        """Return the gauges."""
        return FsStatistics(
            self._context.staging.used_bytes,
            len(self._context.staging),
            len(self._handles),
            len(self._inodes),
            self._context.tree.listings.names,
        )

    # -- names and attributes --------------------------------------------------------------------

    @translated
    async def lookup(self, parent: int, name: bytes) -> Entry:
        """Find a name; raises the inode's lookup count."""
        directory = self._inode(parent)
        inode = await self._namespace.lookup(directory, name)
        return await self._known(inode, exact_name=self._context.tree.is_stored(inode, name))

    @translated
    async def getattr(self, ino: int) -> Entry:
        """Return the attributes of an inode."""
        inode = self._inode(ino)
        if inode.place is Place.GONE:
            raise VfsError(errno.ESTALE, "the file was removed or replaced")
        if inode.place is Place.LINKED and not self._context.tree.is_known(inode):
            await self._namespace.renew(inode)
        await self._links.recognise(inode)
        return self._attributes.entry(inode)

    @translated
    async def setattr(self, ino: int, changes: SetAttr, handle: int | None) -> Entry:
        """Change size, times, mode or owner."""
        inode = self._inode(ino)
        if handle is not None:
            self._handles.file(handle).check()
        await self._changer.change(inode, changes)
        await self._links.recognise(inode)
        return self._attributes.entry(inode)

    @translated
    async def readlink(self, ino: int) -> bytes:
        """Return the target of a symbolic link."""
        inode = self._inode(ino)
        await self._links.recognise(inode)
        if not inode.is_symlink or inode.link is None:
            raise VfsError(errno.EINVAL, "it is not a symbolic link")
        return inode.link

    @translated
    async def mkdir(self, parent: int, name: bytes) -> Entry:
        """Make a directory; raises its lookup count."""
        return await self._known(await self._maker.mkdir(self._inode(parent), name))

    @translated
    async def symlink(self, parent: int, name: bytes, target: bytes) -> Entry:
        """Make a symbolic link; raises its lookup count."""
        return await self._known(await self._maker.symlink(self._inode(parent), name, target))

    @translated
    async def unlink(self, parent: int, name: bytes) -> None:
        """Remove a file."""
        self._check_writable()
        await self._remover.unlink(self._inode(parent), name)

    @translated
    async def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        self._check_writable()
        await self._remover.rmdir(self._inode(parent), name)

    @translated
    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int
    ) -> None:
        """Move an entry; ``flags`` as in renameat2(2)."""
        self._check_writable()
        await self._renamer.rename(
            self._inode(parent), name, self._inode(new_parent), new_name, flags
        )

    async def statfs(self) -> StatFs:
        """Return size and free space."""
        return await self._capacity.statfs()

    async def forget(self, inodes: list[tuple[int, int]]) -> None:
        """Lower lookup counts, as the kernel says."""
        for number, count in inodes:
            inode = self._inodes.number(number)
            if inode is not None:
                inode.lookups -= count
                self._inodes.drop_if_unused(inode)

    # -- files -----------------------------------------------------------------------------------

    @translated
    async def open_file(self, ino: int, flags: int) -> OpenResult:
        """Open an existing file with open(2) flags."""
        return await self._opener.open_file(self._inode(ino), flags)

    @translated
    async def create(self, parent: int, name: bytes, flags: int) -> tuple[OpenResult, Entry]:
        """Open a file, making it where there is none; raises its lookup count."""
        inode, handle, keep_cache = await self._opener.create(self._inode(parent), name, flags)
        result = OpenResult(self._handles.add_file(handle), keep_cache)
        return result, self._attributes.entry(
            inode, exact_name=self._context.tree.is_stored(inode, name)
        )

    @translated
    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """Return up to ``size`` bytes, fewer only at the end of the file."""
        opened = self._handles.file(handle)
        if not opened.readable and not opened.writable:
            raise VfsError(errno.EBADF, "the file is not open for reading")
        return await self._reader.read(opened, offset, size)

    @translated
    async def write(self, handle: int, offset: int, data: bytes) -> int:
        """Take bytes over; durable after fsync or close."""
        opened = self._file_to_write(handle)
        return await self._writer.write(opened, offset, data)

    @translated
    async def flush(self, handle: int, lock_owner: int | None = None) -> None:
        """Answer close(2); ``lock_owner`` loses its fcntl locks on the file."""
        opened = self._handles.file(handle)
        try:
            await self._opener.flush(opened)
        finally:
            if lock_owner is not None:
                await self._context.locks.flushed(opened.inode, handle, lock_owner)

    @translated
    async def fsync(self, handle: int) -> None:
        """Answer fsync(2)."""
        await self._opener.fsync(self._handles.file(handle))

    @translated
    async def release(self, handle: int) -> None:
        """End an open file description."""
        inode = self._handles.file(handle).inode
        try:
            await self._opener.release(handle)
        finally:
            await self._context.locks.released(inode, handle)

    # -- directories -----------------------------------------------------------------------------

    async def opendir(self, ino: int) -> int:
        """Open a directory."""
        return self._directories.open(self._inode(ino))

    @translated
    async def readdir(self, handle: int, offset: int) -> Iterator[DirEntry]:
        """Return the entries from an offset on, 0 for a new snapshot; without ``.`` and ``..``.

        Call ``remember`` for each entry that the kernel took before asking for the next one.
        """
        return await self._directories.read(handle, offset)

    def itself_and_parent(self, handle: int) -> tuple[Entry, Entry]:
        """Return what ``.`` and ``..`` of an open directory are; neither is to be remembered."""
        return self._directories.itself_and_parent(handle)

    def remember(self, ino: int) -> None:
        """Raise the lookup count of an entry that ``readdir`` has just shown."""
        self._directories.remember(ino)

    async def releasedir(self, handle: int) -> None:
        """Close a directory."""
        inode = self._handles.directory(handle).inode
        self._directories.release(handle)
        await self._context.locks.released(inode, handle)

    async def fsyncdir(self, handle: int) -> None:
        """Do nothing: names are on the service when the call that changed them returns."""
        self._handles.directory(handle)

    # -- helpers ---------------------------------------------------------------------------------

    def _inode(self, number: int) -> Inode:
        inode = self._inodes.number(number)
        if inode is None:
            raise VfsError(errno.ESTALE, "no such inode")
        return inode

    async def _known(self, inode: Inode, *, exact_name: bool = True) -> Entry:
        """Answer with an inode that the kernel will refer to from now on."""
        inode.lookups += 1
        try:
            await self._links.recognise(inode)
        except BaseException:
            inode.lookups -= 1
            self._inodes.drop_if_unused(inode)
            raise
        return self._attributes.named(inode, exact_name=exact_name)

    def _check_writable(self) -> None:
        if self.read_only:
            raise VfsError(errno.EROFS, "the mount is read-only")

    def _file_to_write(self, handle: int) -> FileHandle:
        opened = self._handles.file(handle)
        if not opened.writable:
            raise VfsError(errno.EBADF, "the file is not open for writing")
        return opened
