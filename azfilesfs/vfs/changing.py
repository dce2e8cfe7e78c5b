"""setattr: sizes, times, and the modes and owners that the service does not keep."""

from __future__ import annotations

import errno
import stat

from azfilesfs.client import Times
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from azfilesfs.model.times import floor_to_tick
from azfilesfs.vfs.attributes import AttributeView
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.flusher import Flusher
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.locking.patience import with_patience
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.types import SetAttr
from azfilesfs.vfs.upload import merged
from azfilesfs.vfs.writing import Writer


class AttributeChanger:
    """Applies setattr requests."""

    def __init__(
        self,
        context: Context,
        namespace: Namespace,
        attributes: AttributeView,
        writer: Writer,
        flusher: Flusher,
    ) -> None:
        self._context = context
        self._namespace = namespace
        self._attributes = attributes
        self._writer = writer
        self._flusher = flusher

    async def change(self, inode: Inode, changes: SetAttr) -> None:
        """Apply what setattr asks for.

        Without a writer open, what it changes is on the service when it returns.

        Raises:
            VfsError: EROFS, EPERM under strict modes, EISDIR, EFBIG.
        """
        self._check_modes(inode, changes)
        sets_content = changes.size is not None or changes.mtime_ns is not None
        if (sets_content or changes.atime_ns is not None) and self._context.options.read_only:
            raise VfsError(errno.EROFS, "the mount is read-only")
        if changes.atime_ns is not None:
            inode.atime_ns = changes.atime_ns
        if changes.size is not None:
            if inode.is_directory:
                raise VfsError(errno.EISDIR, "it is a directory")
            if inode.place is Place.LINKED and inode.dirty is None and not inode.writers:
                # As with O_TRUNC: what another client has closed before is what is cut.
                await self._namespace.refresh(inode)
            await self._writer.truncate(inode, changes.size)
        if changes.mtime_ns is not None:
            await self._set_mtime(inode, changes.mtime_ns, changes.ctime_ns)
        if sets_content and inode.dirty is not None and not inode.writers:
            await self._flusher.close(inode)

    def _check_modes(self, inode: Inode, changes: SetAttr) -> None:
        """Owners and modes are the mount's.

        Asking for others is ignored, or refused under ``--strict-modes``.
        """
        if not self._context.options.strict_modes:
            return
        now = self._attributes.of(inode)
        mode = None if changes.mode is None else stat.S_IMODE(changes.mode)
        wanted = (mode, changes.uid, changes.gid)
        present = (stat.S_IMODE(now.mode), now.uid, now.gid)
        for new, old in zip(wanted, present, strict=True):
            if new is not None and new != old:
                raise VfsError(errno.EPERM, "the service keeps no owners and modes")

    async def _set_mtime(self, inode: Inode, mtime_ns: int, ctime_ns: int | None) -> None:
        now = self._context.wall_ns() if ctime_ns is None else ctime_ns
        async with inode.lock:
            if ctime_ns is not None and self._comes_by_itself(inode, mtime_ns):
                return
            if inode.dirty is not None:
                inode.dirty.set_times(mtime_ns, now)
                inode.changes += 1
            elif inode.place is not Place.GONE:
                mtime, ctime = floor_to_tick(mtime_ns), floor_to_tick(now)
                await with_patience(
                    self._context, inode, lambda: self._send_times(inode, mtime, ctime)
                )
            else:
                raise VfsError(errno.ESTALE, "the file was removed or replaced")

    def _comes_by_itself(self, inode: Inode, mtime_ns: int) -> bool:
        """Tell whether nothing is to be sent of times that a kernel brings that keeps them itself.

        It does so after renaming and removing as well, which change no modification time; and
        while a file is being written, where the next flush sends them with what it then has.
        """
        if inode.dirty is not None:
            return False
        if inode.writers and inode.place is not Place.GONE:
            self._writer.begin(inode)
            return False
        properties = inode.properties
        written_ns = properties.last_write_time_ns if properties is not None else None
        return written_ns == floor_to_tick(mtime_ns) or inode.place is Place.GONE

    async def _content_headers(self, inode: Inode, path: SharePath) -> ContentHeaders:
        """Return the HTTP headers, which the service would clear if they were not sent again.

        A stored MD5 must be that of the content at this moment, so it is always asked for.
        """
        known = inode.properties.content if inode.properties is not None else ContentHeaders()
        is_certain = known.content_type is not None and known.content_md5 is None
        if is_certain and self._context.tree.is_known(inode):
            return known
        return (
            await self._context.share.get_file_properties(path, lease_id=inode.lease_id)
        ).content

    async def _send_times(self, inode: Inode, mtime_ns: int, ctime_ns: int) -> None:
        times, share = Times(last_write_ns=mtime_ns, change_ns=ctime_ns), self._context.share
        old = inode.properties
        async with self._context.gate.path(inode) as path:
            if inode.is_directory:
                answer = await share.set_directory_properties(path, times=times)
            else:
                content = await self._content_headers(inode, path)
                answer = await share.set_file_properties(
                    path, times=times, content=content, lease_id=inode.lease_id
                )
        self._context.tree.check_identity(inode, answer)
        if inode.is_directory:
            inode.local_mtime_ns = None
        # The answer does not tell whether the content is still what we know: what is cached of it
        # stays with the old version.
        properties = answer if old is None else merged(old, answer, old.size, None)
        was_link = inode.is_symlink
        self._context.inodes.learn_id(inode, properties)
        if was_link:
            # Links are replaced, never rewritten; and the kernel takes another type for a failure.
            inode.link_of = inode.validator
        inode.changes += 1
        self._context.tree.added(inode)
