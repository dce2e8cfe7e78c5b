"""What the block reader sees of an inode."""

from __future__ import annotations

import errno
from contextlib import AbstractAsyncContextManager

from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode


class InodeSource:
    """One inode as the source of blocks: its path, its version, and where answers about it go."""

    def __init__(self, context: Context, inode: Inode) -> None:
        self._context = context
        self._inode = inode

    @property
    def lease_id(self) -> str | None:
        """The lease that we hold on the file now."""
        return self._inode.lease_id

    def held(self) -> AbstractAsyncContextManager[SharePath]:
        """Hold the path of the file still for one request."""
        return self._context.gate.path(self._inode)

    @property
    def validator(self) -> Validator:
        """The version that is read.

        Raises:
            VfsError: EIO where the service did not tell it.
        """
        inode = self._inode
        found = inode.dirty.base if inode.dirty is not None else inode.validator
        if found is None:
            raise VfsError(errno.EIO, "the service does not tell the version of the file")
        return found

    def observed(self, properties: Properties) -> None:
        """Take an answer that shows another version, or the same one anew.

        Raises:
            VfsError: ESTALE where it is another file, or where local changes stand on the version
                that is gone.
        """
        inode, found = self._inode, properties.validator()
        if inode.dirty is not None:
            if found is not None and inode.dirty.is_ours(properties):
                # Our own upload that did not end well; what it sent is still dirty here.
                inode.dirty.base = found
                inode.dirty.staged.rebase(found, inode.dirty.staged.base_limit)
            elif found != inode.dirty.base:
                raise VfsError(errno.ESTALE, "the file was changed by another client meanwhile")
            return
        self._context.tree.check_identity(inode, properties)
        before = inode.validator
        self._context.tree.take(inode, properties, self._context.now())
        if inode.validator != before and inode.pages_of == before:
            inode.pages_of = None
            self._context.kernel.forget_pages(inode.number)
