"""rename(2).

Files replace files in one step at the service, directories replace empty directories in two.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import trio

from azfilesfs.errors import DirectoryNotFound, FileNotFound
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.flusher import Flusher
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.locking.patience import with_patience
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.private import PrivateDirectory
from azfilesfs.vfs.removal import Remover, discard_nameless

RENAME_NOREPLACE = 1
_ATTEMPTS = 3


class Renamer:
    """Moves files and directories."""

    def __init__(
        self,
        context: Context,
        namespace: Namespace,
        flusher: Flusher,
        remover: Remover,
        private: PrivateDirectory,
    ) -> None:
        self._context = context
        self._namespace = namespace
        self._flusher = flusher
        self._remover = remover
        self._private = private
        self._crossing = trio.Lock()

    async def rename(
        self, parent: Inode, name: bytes, new_parent: Inode, new_name: bytes, flags: int
    ) -> None:
        """Move an entry.

        Raises:
            VfsError: EINVAL for flags other than RENAME_NOREPLACE and for a directory into itself,
                EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, ENOENT.
        """
        if flags & ~RENAME_NOREPLACE:
            raise VfsError(errno.EINVAL, "of the rename flags only RENAME_NOREPLACE is known")
        keeps_target = bool(flags & RENAME_NOREPLACE)
        spelled = self._namespace.service_name(new_parent, new_name)
        for _ in range(_ATTEMPTS):
            source = await self._namespace.lookup(parent, name)
            with self._context.inodes.held(source):
                target = await self._namespace.find(new_parent, new_name)
                with self._context.inodes.held(target):
                    if await self._move(source, new_parent, spelled, target, keeps_target):
                        return
        raise VfsError(errno.EAGAIN, "the names keep changing")

    async def _move(
        self, source: Inode, new_parent: Inode, name: str, target: Inode | None, keeps_target: bool
    ) -> bool:
        if target is source:
            if source.name == name:
                return True
            target = None
        self._check(source, new_parent, target, keeps_target=keeps_target)
        if source.is_directory:
            await self._rename_directory(source, new_parent, name, target)
            return True
        return await self._rename_file(source, new_parent, name, target, keeps_target)

    def _check(
        self, source: Inode, new_parent: Inode, target: Inode | None, *, keeps_target: bool
    ) -> None:
        if source.is_directory and source in new_parent.ancestors():
            raise VfsError(errno.EINVAL, "a directory cannot be moved into itself")
        if target is None:
            return
        if keeps_target:
            raise VfsError(errno.EEXIST, "the new name exists")
        if source.is_directory and not target.is_directory:
            raise VfsError(errno.ENOTDIR, "the new name is not a directory")
        if target.is_directory and not source.is_directory:
            raise VfsError(errno.EISDIR, "the new name is a directory")

    # -- directories -----------------------------------------------------------------------------

    async def _rename_directory(
        self, source: Inode, new_parent: Inode, name: str, target: Inode | None
    ) -> None:
        if target is not None:
            await self._remover.remove_directory(target)
        try:
            async with self._moving(source, new_parent) as destination:
                answer = await self._context.share.rename_directory(
                    source.path(), destination.child(name), expected_file_id=source.file_id
                )
                self._moved(source, new_parent, name, answer)
        except (FileNotFound, DirectoryNotFound):
            self._context.tree.lose(source)
            raise VfsError(errno.ENOENT, "another client removed it") from None

    # -- files -----------------------------------------------------------------------------------

    async def _rename_file(
        self, source: Inode, new_parent: Inode, name: str, target: Inode | None, keeps_target: bool
    ) -> bool:
        """Move a file.

        False where things changed while we waited for the locks, and nothing is done.
        """
        before = (source.parent, source.name)
        await self._flusher.flush(source)
        async with self._locked(source, target):
            if source.place is not Place.LINKED or (source.parent, source.name) != before:
                return False
            if target is not None and not target.is_named:
                return False
            await with_patience(
                self._context,
                source,
                lambda: self._replace(source, new_parent, name, target, keeps_target),
            )
        if target is not None:
            await discard_nameless(self._context, target)
        return True

    @asynccontextmanager
    async def _locked(self, source: Inode, target: Inode | None) -> AsyncIterator[None]:
        """Take both locks, the lower inode number first."""
        if target is None:
            async with source.lock:
                yield
            return
        first, second = sorted((source, target), key=lambda inode: inode.number)
        async with first.lock, second.lock:
            yield

    async def _replace(
        self, source: Inode, new_parent: Inode, name: str, target: Inode | None, keeps_target: bool
    ) -> None:
        copy = None
        if target is not None and target.place is Place.LINKED and target.handles:
            copy = await self._private.attempt(lambda: self._copy_aside(target))
        try:
            async with self._moving(source, new_parent, target) as destination:
                answer = await self._context.share.rename_file(
                    source.path(),
                    destination.child(name),
                    # Without a target that we know there may be one that we do not know yet.
                    replace=not keeps_target,
                    expected_file_id=source.file_id,
                    source_lease_id=source.lease_id,
                    destination_lease_id=target.lease_id if target is not None else None,
                )
                self._replaced(target, copy)
                self._moved(source, new_parent, name, answer)
        except (FileNotFound, DirectoryNotFound):
            self._context.tree.lose(source)
            raise VfsError(errno.ENOENT, "another client removed it") from None

    async def _copy_aside(self, target: Inode) -> tuple[SharePath, Properties]:
        """Copy a file that is about to be replaced, for the handles that are open.

        Where the replacing fails the copy is swept later.
        """
        share, place = self._context.share, await self._private.parking_place()
        async with self._context.gate.path(target) as path:
            state = await share.copy_file(path, place)
            return place, await share.wait_for_copy(place, state.copy_id)

    def _replaced(self, target: Inode | None, copy: tuple[SharePath, Properties] | None) -> None:
        """Take the name from a file that the service has replaced."""
        if target is None or not target.is_named:
            return
        self._context.locks.vanished(target)
        if copy is None:
            self._remover.forget(target)
            return
        place, properties = copy
        self._remover.parked(target)
        target.parked = place
        self._context.tree.same_content(target, properties)

    # -- both ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _moving(
        self, source: Inode, new_parent: Inode, target: Inode | None = None
    ) -> AsyncIterator[SharePath]:
        """Hold both places still, and yield the path of the new parent.

        One move between directories at a time, as in the kernel: two that cross would wait for each
            other.
        """
        parent, name = source.parent, source.name
        if parent is None:
            raise VfsError(errno.ENOENT, "it was removed meanwhile")
        async with AsyncExitStack() as stack:
            if parent is not new_parent:
                await stack.enter_async_context(self._crossing)
            moved = [inode for inode in (source, target) if inode is not None]
            await stack.enter_async_context(self._context.gate.moving(*moved))
            if (source.parent, source.name) != (parent, name):
                raise VfsError(errno.ENOENT, "it was moved meanwhile")
            if source in new_parent.ancestors():
                # It got there while we waited; its path would wait for ourselves.
                raise VfsError(errno.EINVAL, "a directory cannot be moved into itself")
            path = await stack.enter_async_context(self._context.gate.path(new_parent))
            stack.enter_context(self._context.tree.doubting(parent, new_parent, *moved))
            # A move whose answer nobody waits for would leave handles at a name that is gone.
            stack.enter_context(trio.CancelScope(shield=True))
            yield path

    def _moved(self, source: Inode, new_parent: Inode, name: str, answer: Properties) -> None:
        """Take over what the service did: one synchronous step."""
        old_parent, old_name = source.parent, source.name
        holder = self._context.inodes.child(new_parent, name)
        if holder is not None and holder is not source:
            self._context.tree.lose(holder)
        size = source.properties.size if source.properties is not None else 0
        content = source.properties.content if source.properties is not None else answer.content
        self._context.inodes.move(source, new_parent, name)
        self._context.tree.same_content(source, replace(answer, size=size, content=content))
        if old_parent is not None:
            self._context.tree.removed(old_parent, old_name)
        self._context.tree.added(source)
        self._context.tree.touched(new_parent)
        self._context.tree.relocate(source)
        self._context.locks.relocated()
