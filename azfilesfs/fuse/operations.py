"""The handlers that pyfuse3 calls: each converts arguments, calls the filesystem, converts the
result.

There is no rule about files here. What the filesystem has no method for, since the service can
never do it, is refused with a fixed errno.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pyfuse3
from pyfuse3 import (
    EntryAttributes,
    FileInfo,
    FUSEError,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
)

from azfilesfs.fuse.attributes import changes, entry_attributes, file_info, statvfs
from azfilesfs.fuse.guard import Guard, guarded, guarded_silently
from azfilesfs.fuse.protocol import Filesystem
from azfilesfs.fuse.requests import Closing

_DOTS = (b".", b"..")


def _do_nothing() -> None:
    """Stand in until somebody wants to know of the start."""


def _know_nothing(handle: int) -> Closing | None:
    """Stand in where no operation table tells what pyfuse3 does not pass on."""
    return None


class Operations(pyfuse3.Operations):
    """The handlers of one mount.

    Attributes:
        guard: what every handler runs under.
        on_init: called once, when the kernel has asked for the first time; must not raise.
        closing: tells, at the very beginning of a flush or release, what pyfuse3 does not.
    """

    # A lookup of "." or ".." comes from NFS exports only, which need more than that.
    supports_dot_lookup = False
    # With it the kernel trusts its own size and times over ours; a session may ask for that.
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, filesystem: Filesystem, guard: Guard) -> None:
        """Stand on a filesystem; nothing is mounted yet."""
        super().__init__()
        self._fs = filesystem
        self.guard = guard
        self.on_init: Callable[[], None] = _do_nothing
        self.closing: Callable[[int], Closing | None] = _know_nothing

    def init(self) -> None:
        """Take note that the kernel and we have agreed on the protocol."""
        self.on_init()

    @guarded
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Find a name in a directory."""
        return entry_attributes(await self._fs.lookup(parent_inode, name))

    @guarded_silently
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Lower lookup counts."""
        await self._fs.forget(list(inode_list))

    @guarded
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        """Answer attributes."""
        return entry_attributes(await self._fs.getattr(inode))

    @guarded
    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """Change attributes."""
        return entry_attributes(await self._fs.setattr(inode, changes(attr, fields), fh))

    @guarded
    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        """Answer the target of a symbolic link."""
        return await self._fs.readlink(inode)

    @guarded
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a directory."""
        return entry_attributes(await self._fs.mkdir(parent_inode, name))

    @guarded
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a symbolic link."""
        return entry_attributes(await self._fs.symlink(parent_inode, name, target))

    @guarded
    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a file."""
        await self._fs.unlink(parent_inode, name)

    @guarded
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a directory."""
        await self._fs.rmdir(parent_inode, name)

    @guarded
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        """Move a name."""
        await self._fs.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags)

    @guarded
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        """Open a file."""
        return file_info(await self._fs.open_file(inode, flags))

    @guarded
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Make and open a file."""
        opened, entry = await self._fs.create(parent_inode, name, flags)
        return file_info(opened), entry_attributes(entry)

    @guarded
    async def read(  # type: ignore[override]  # pyfuse3 takes any buffer
        self, fh: int, off: int, size: int
    ) -> bytes | memoryview:
        """Read bytes; pyfuse3 answers from any contiguous buffer without a copy."""
        return await self._fs.read(fh, off, size)

    @guarded
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write bytes."""
        return await self._fs.write(fh, off, buf)

    @guarded
    async def flush(self, fh: int) -> None:
        """Answer a close(2)."""
        closing = self.closing(fh)
        await self._fs.flush(fh, closing.owner if closing is not None else None)

    @guarded
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Answer fsync(2) and fdatasync(2) alike."""
        await self._fs.fsync(fh)

    @guarded
    async def release(self, fh: int) -> None:
        """Forget a handle."""
        await self._fs.release(fh)

    @guarded
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        """Open a directory."""
        return await self._fs.opendir(inode)

    @guarded
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        """List a directory, as far as the kernel's buffer goes.

        Ids are positions: ``.`` and ``..`` come first, then the filesystem's snapshot. The kernel
        counts no lookup for those two.
        """
        dots = zip(_DOTS, self._fs.itself_and_parent(fh), strict=True)
        for position, (name, entry) in list(enumerate(dots, start=1))[start_id:]:
            if not pyfuse3.readdir_reply(token, name, entry_attributes(entry), position):
                return
        shown = len(_DOTS)
        for name, entry, following in await self._fs.readdir(fh, max(0, start_id - shown)):
            if not pyfuse3.readdir_reply(token, name, entry_attributes(entry), following + shown):
                break
            self._fs.remember(entry.attrs.ino)

    @guarded
    async def releasedir(self, fh: int) -> None:
        """Forget a directory handle."""
        await self._fs.releasedir(fh)

    @guarded
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Make a directory durable."""
        await self._fs.fsyncdir(fh)

    @guarded
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Answer the size of the share."""
        return statvfs(await self._fs.statfs())

    @guarded
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Refuse hard links, as link(2) says for a filesystem without them."""
        raise FUSEError(errno.EPERM)

    @guarded
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Refuse special files, as mknod(2) says for a filesystem without them."""
        raise FUSEError(errno.EPERM)
