"""Opening, creating and closing files.

Close-to-open, O_EXCL between hosts, and the create that waits for its data.
"""

from __future__ import annotations

import errno
import logging
import os

from azfilesfs.client import Times
from azfilesfs.errors import FileAlreadyExists, FileNotFound, InvalidRange
from azfilesfs.errors import ParentNotFound as MissingParent
from azfilesfs.model.properties import EntryKind
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.exclusive import ExclusiveMaker
from azfilesfs.vfs.flusher import Flusher
from azfilesfs.vfs.handles import FileHandle
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.removal import discard_nameless
from azfilesfs.vfs.source import InodeSource
from azfilesfs.vfs.types import Consistency, ExclusiveCreate, OpenResult
from azfilesfs.vfs.writing import Writer

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 3


class Opener:
    """Makes and ends open file descriptions."""

    def __init__(
        self,
        context: Context,
        namespace: Namespace,
        writer: Writer,
        flusher: Flusher,
        exclusive: ExclusiveMaker,
    ) -> None:
        self._context = context
        self._namespace = namespace
        self._writer = writer
        self._flusher = flusher
        self._exclusive = exclusive

    async def open_file(self, inode: Inode, flags: int) -> OpenResult:
        """Open an existing file and give it a handle; raises as ``open``."""
        # Counted from the start: a removal meanwhile must park the content for us.
        inode.handles += 1
        try:
            handle, keep_cache = await self.open(inode, flags)
            return OpenResult(self._context.handles.add_file(handle), keep_cache)
        finally:
            inode.handles -= 1
            await discard_nameless(self._context, inode)

    async def open(self, inode: Inode, flags: int) -> tuple[FileHandle, bool]:
        """Open an existing file.

        Tell whether the kernel's pages of it are those of the version that is opened.

        Raises:
            VfsError: EISDIR, EROFS, or ESTALE where another client removed or replaced it: the
                kernel looks the name up again then.
        """
        if inode.is_directory:
            raise VfsError(errno.EISDIR, "it is a directory")
        handle, generation = self._handle(inode, flags), inode.generation
        if handle.writable and self._context.options.read_only:
            raise VfsError(errno.EROFS, "the mount is read-only")
        truncates = handle.writable and bool(flags & os.O_TRUNC)
        if handle.writable and inode.dirty is not None and inode.dirty.staged.is_acknowledged:
            # What a close was answered on is not mixed with what nobody has closed yet.
            await self._flusher.flush(inode)
        if self._must_ask(inode):
            await self._revalidate(inode, by_reading=handle.readable and not truncates)
            inode.compared_at = self._context.now()
        if self._is_wrong_inode(inode, generation):
            # The kernel looks the name up again then, and takes a new inode with the present size.
            # What it is told must not be an older version that a listing had.
            self._context.tree.added(inode)
            raise VfsError(errno.ESTALE, "the file was changed by another client")
        if truncates:
            await self._writer.truncate(inode, 0)
        if inode.place is Place.GONE:
            raise VfsError(errno.ESTALE, "the file was removed or replaced")
        version = inode.dirty.base if inode.dirty is not None else inode.validator
        # A file without a version is local: what pages there are came from here.
        keep_cache = inode.pages_of == version and (version is not None or inode.dirty is not None)
        inode.pages_of = version
        return handle, keep_cache

    def _is_wrong_inode(self, inode: Inode, generation: int) -> bool:
        """Tell whether the kernel opens an inode of its own that has an older version's size."""
        if inode.generation != generation:
            return True
        return inode.outdated is not None and not self._context.handles.is_open(inode)

    def _handle(self, inode: Inode, flags: int) -> FileHandle:
        if self._context.options.single_writer:
            flags &= ~os.O_APPEND  # the kernel keeps the size, and places what is appended
        return FileHandle(inode, flags, self._context.reader.new_pattern())

    def _must_ask(self, inode: Inode) -> bool:
        if inode.dirty is not None or inode.place is not Place.LINKED:
            return False
        if inode.lease_id is not None:
            return False  # nobody else can have changed it
        if self._context.options.consistency is Consistency.TTL:
            return not self._context.tree.is_known(inode)
        return True

    async def _revalidate(self, inode: Inode, *, by_reading: bool) -> None:
        """Ask the service for the version.

        By fetching the first block where it is not cached, else by a HEAD.
        """
        properties = inode.properties
        if by_reading and properties is not None and properties.size > 0:
            source = InodeSource(self._context, inode)
            answer = None
            try:
                answer = await self._context.reader.open_first_block(source)
            except InvalidRange:
                # Empty by now: a range has no answer there, a HEAD has.
                _LOG.debug("%r became empty", inode)
            except (FileNotFound, MissingParent):
                self._context.tree.lose(inode)
                raise VfsError(errno.ESTALE, "the file was removed by another client") from None
            if answer is not None:
                self._context.tree.check_identity(inode, answer)
                self._context.tree.take(inode, answer, self._context.now())
                return
        await self._namespace.refresh(inode)

    # -- creating --------------------------------------------------------------------------------

    async def create(
        self, parent: Inode, name: bytes, flags: int
    ) -> tuple[Inode, FileHandle, bool]:
        """Open a file, making it where there is none; its inode has been looked up once more then.

        Raises:
            VfsError: EEXIST with O_EXCL where the name exists, on this mount or on the service.
        """
        if self._context.options.read_only:
            raise VfsError(errno.EROFS, "the mount is read-only")
        spelled = self._namespace.service_name(parent, name)
        for _ in range(_ATTEMPTS):
            existing = await self._namespace.find(parent, name)
            if existing is not None:
                with self._context.inodes.held(existing):
                    if flags & os.O_EXCL:
                        raise VfsError(errno.EEXIST, "the name exists")
                    handle, keep_cache = await self.open(existing, flags)
                    existing.lookups += 1
                    return existing, handle, keep_cache
            if flags & os.O_EXCL and self._decides_at_service():
                inode = await self._create_exclusively(parent, spelled)
            elif self._context.inodes.child(parent, spelled) is not None:
                continue  # somebody on this mount made it while we asked
            else:
                inode = self._create_here(parent, spelled, flags)
            self._context.tree.added(inode)
            self._context.tree.touched(parent)
            handle = self._handle(inode, flags)
            inode.lookups += 1
            return inode, handle, True
        raise VfsError(errno.EAGAIN, "the name appears and disappears")

    def _decides_at_service(self) -> bool:
        return self._context.options.exclusive_create is ExclusiveCreate.SERVICE

    def _create_here(self, parent: Inode, name: str, flags: int) -> Inode:
        """Make a file that exists on this mount only, until its first upload."""
        inode = self._context.inodes.add(parent, name, EntryKind.FILE, None)
        try:
            dirty = self._writer.begin(inode)
        except VfsError:
            self._context.inodes.detach(inode, Place.GONE)
            raise
        dirty.absent_since = self._namespace.absent_since(parent)
        dirty.exclusive = bool(flags & os.O_EXCL)
        dirty.touch(self._context.wall_ns())
        return inode

    async def _create_exclusively(self, parent: Inode, name: str) -> Inode:
        """Make an empty file that is not there; the service decides between hosts."""
        now = self._context.wall_ns()
        try:
            made = await self._exclusive.make(parent, name, Times(last_write_ns=now, change_ns=now))
        except FileAlreadyExists:
            raise VfsError(errno.EEXIST, "another client has made it") from None
        inode = self._context.inodes.child(parent, name)
        if inode is not None:
            # A listing that was under way has shown it already.
            self._context.inodes.learn_id(inode, made)
        else:
            inode = self._context.inodes.add(parent, name, EntryKind.FILE, made)
        inode.created_here = True
        inode.checked_at = self._context.now()
        inode.pages_of = inode.validator
        return inode

    # -- closing ---------------------------------------------------------------------------------

    async def flush(self, handle: FileHandle) -> None:
        """Answer close(2): what is dirty is on the service, or promised, or the error is told."""
        if handle.writable:
            handle.check()
            await self._flusher.close(handle.inode)
            # A background upload may have given the changes up while we waited for it.
            handle.check()

    async def fsync(self, handle: FileHandle) -> None:
        """Answer fsync(2)."""
        handle.check()
        await self._flusher.flush(handle.inode)
        handle.check()

    async def release(self, number: int) -> None:
        """End an open file description.

        What a mapping wrote after the last close is uploaded now.
        """
        inode = self._context.handles.remove_file(number).inode
        try:
            await discard_nameless(self._context, inode)
            if not inode.handles and inode.dirty is not None and inode.dirty.needs_a_flush:
                await self._flusher.flush(inode)
        except VfsError as error:
            _LOG.log(error.log_level, "%r after its last close: %s", inode.name, error)
        finally:
            self._context.inodes.drop_if_unused(inode)
