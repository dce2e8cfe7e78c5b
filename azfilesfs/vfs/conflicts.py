"""What becomes of local changes when the remote file is not the version that they were made on
(``--on-conflict``).
"""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from datetime import UTC, datetime

import trio

from azfilesfs.errors import AzureFilesError, NameTooLong
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.plan import Plan
from azfilesfs.vfs.types import OnConflict
from azfilesfs.vfs.upload import Uploader

_CLEANUP_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class ConflictResolver:
    """Applies the policy.

    Local bytes are never dropped: they are uploaded, saved beside, or kept for recovery.
    """

    def __init__(self, context: Context, uploader: Uploader) -> None:
        self._context = context
        self._uploader = uploader
        context.tree.on_lost = self.lost

    async def resolve(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties | None
    ) -> Properties:
        """Decide a conflict found by an upload pass.

        Returns:
            The version that the file has become, where the local changes went over the remote ones,
            or were saved beside.

        Raises:
            VfsError: ESTALE; the local changes are kept for ``azfilesfs recover``.
            AzureFilesError: a request of the chosen way failed; everything is still dirty.
        """
        policy = self._context.options.on_conflict
        if policy is OnConflict.OVERWRITE and self._can_overwrite(dirty, remote):
            return await self._overwrite(inode, dirty, plan, remote)
        if policy is OnConflict.COPY:
            return await self._save_beside(inode, dirty, remote)
        raise self.give_up(inode, dirty, remote)

    # -- fail ------------------------------------------------------------------------------------

    def give_up(
        self,
        inode: Inode,
        dirty: DirtyFile,
        remote: Properties | None,
        *,
        lost_lock: str | None = None,
    ) -> VfsError:
        """Move the local changes to the kept records; the inode shows the remote file from now on.

        ``lost_lock`` says that a lock which protected them was lost: then that is the reason, and
        EIO the answer.

        Every handle that is open for writing reports the failure from now on, for its program
        believes in bytes that are not there.
        """
        change = "was changed" if remote is not None else "was removed"
        what = lost_lock or f"the file {change} by another client"
        try:
            record = dirty.staged.keep(what)
        except OSError as error:
            _LOG.error("the changes of %r cannot be kept: %s", str(dirty.staged.path), error)
            return VfsError(errno.EIO, f"the staging area: {error}")
        reason = f"{what}; the local changes are kept: azfilesfs recover show {record.id}"
        number = errno.EEXIST if dirty.exclusive and dirty.base is None else errno.ESTALE
        if lost_lock is not None:
            number = errno.EIO
        failure = VfsError(number, reason, logging.WARNING)
        _LOG.warning("conflict on %r: %s", str(record.path), reason)
        if lost_lock is not None:
            self._forget(inode)
        else:
            self._leave(inode, remote)
        for handle in self._context.handles.of(inode):
            if handle.writable:
                handle.error = failure
        return failure

    def lost(self, inode: Inode) -> None:
        """Keep the changes of a file that a lookup or listing shows to be gone or replaced."""
        # An upload pass that is under way finds out by itself, and must not lose its staged file
        # meanwhile.
        if inode.dirty is not None and inode.place is Place.LINKED and not inode.is_locked:
            self.give_up(inode, inode.dirty, None)

    def _forget(self, inode: Inode) -> None:
        """Let the inode show the remote file, of which nothing new is known; a new file is gone."""
        if inode.place is Place.LOCAL:
            self._leave(inode, None)
            return
        inode.dirty = None
        inode.changes += 1
        inode.checked_at = float("-inf")
        inode.created_here = False
        self._context.tree.note_foreign_change(inode, inode.properties)
        self._context.kernel.forget_pages(inode.number)

    def _leave(self, inode: Inode, remote: Properties | None) -> None:
        inode.dirty = None
        inode.changes += 1
        self._context.kernel.forget_pages(inode.number)
        if remote is not None and remote.file_id == inode.file_id:
            self._context.tree.note_foreign_change(inode, inode.properties)
            self._context.inodes.learn_id(inode, remote)
            inode.checked_at = self._context.now()
            inode.created_here = False
            self._context.tree.added(inode)
        else:
            self._context.tree.lose(inode)

    # -- overwrite -------------------------------------------------------------------------------

    def _can_overwrite(self, dirty: DirtyFile, remote: Properties | None) -> bool:
        """Without a remote file the local bytes must be the whole of it."""
        return remote is not None or dirty.staged.present.covers(ByteRange(0, dirty.size))

    async def _overwrite(
        self, inode: Inode, dirty: DirtyFile, plan: Plan, remote: Properties | None
    ) -> Properties:
        if remote is None:
            async with self._context.gate.path(inode) as path:
                remote = await self._context.share.create_file(path, plan.size)
            dirty.staged.rebase(remote.validator(), 0)
            plan = Plan(tuple(dirty.staged.present), plan.size, plan.mtime_ns, plan.ctime_ns)
        _LOG.warning("%r was changed by another client and is overwritten", str(inode.path()))
        self._context.inodes.learn_id(inode, remote)
        dirty.base, dirty.base_write_ns = remote.validator(), remote.last_write_time_ns
        return await self._uploader.update(inode, dirty, plan, remote)

    # -- copy ------------------------------------------------------------------------------------

    async def _save_beside(
        self, inode: Inode, dirty: DirtyFile, remote: Properties | None
    ) -> Properties:
        async with self._context.gate.path(inode) as path:
            beside = self._name_beside(path)
            await self._write_beside(path, beside, dirty, remote)
        _LOG.warning(
            "%r was changed by another client; the local version is saved as %r",
            str(path),
            str(beside),
        )
        dirty.staged.discard()
        self._leave(inode, remote)
        parent = inode.parent
        if parent is not None:
            self._context.tree.listings.expire(parent)
            self._context.tree.touched(parent)
        if remote is None:
            raise VfsError(errno.ESTALE, f"it was removed by another client; saved as {beside}")
        return remote

    def _name_beside(self, path: SharePath) -> SharePath:
        moment = datetime.fromtimestamp(self._context.wall_ns() / 1e9, UTC)
        note = f" (conflict {self._context.options.host_name} {moment:%Y-%m-%dT%H-%M-%S.%fZ})"
        beside = path.parent.child(path.name + note)
        try:
            beside.check()
        except NameTooLong:
            beside = path.parent.child(path.name[: 250 - len(note)] + note)
        return beside

    async def _write_beside(
        self, path: SharePath, beside: SharePath, dirty: DirtyFile, remote: Properties | None
    ) -> None:
        """Write the local version.

        Where it has no bytes of its own it shows those of the remote file.
        """
        share, staged = self._context.share, dirty.staged
        shown, size = ByteRange(0, min(staged.base_limit, dirty.size)), dirty.size
        extents = staged.present.copy()
        try:
            if remote is not None and not extents.covers(shown):
                copy = await share.copy_file(path, beside)
                await share.wait_for_copy(beside, copy.copy_id)
                if shown.stop < size:
                    # What was cut off before it grew must not come back.
                    await share.set_file_properties(beside, size=shown.stop)
                await share.set_file_properties(beside, size=size)
            else:
                await share.create_file(beside, size)
            for extent in extents.within(ByteRange(0, size)):
                for piece in extent.split(RANGE_BYTES):
                    await share.put_range(beside, piece.start, staged.read(piece))
        except BaseException:
            # A copy that is not whole would look like the local version: better none, and the pass
            # is done again.
            with trio.move_on_after(_CLEANUP_SECONDS, shield=True), suppress(AzureFilesError):
                await share.delete_file(beside)
            raise
