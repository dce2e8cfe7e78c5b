"""mkdir and symlink: what is made at once and exclusively."""

from __future__ import annotations

import errno
from dataclasses import replace

from azfilesfs.client import Times
from azfilesfs.errors import FileAlreadyExists, ResourceTypeMismatch
from azfilesfs.model.properties import NEW_CONTENT, EntryKind, Properties
from azfilesfs.model.times import floor_to_tick
from azfilesfs.model.versions import has_create_with_data
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.links import Links
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.private import PrivateDirectory


class Maker:
    """Makes directories and symbolic links."""

    def __init__(
        self, context: Context, namespace: Namespace, links: Links, private: PrivateDirectory
    ) -> None:
        self._context = context
        self._namespace = namespace
        self._links = links
        self._private = private

    async def mkdir(self, parent: Inode, name: bytes) -> Inode:
        """Make a directory; the service decides between hosts. EEXIST where the name exists."""
        spelled = await self._free_name(parent, name)
        now, asked_at = floor_to_tick(self._context.wall_ns()), self._context.now()
        # The creation time tells our own directory from a foreign one after a lost answer.
        times = Times(creation_ns=now, last_write_ns=now, change_ns=now)
        try:
            async with self._context.gate.path(parent) as directory:
                with self._context.tree.doubting(parent):
                    made = await self._context.share.create_directory(
                        directory.child(spelled), times=times
                    )
        except (FileAlreadyExists, ResourceTypeMismatch):
            raise VfsError(errno.EEXIST, "the name exists") from None
        inode = self._made(parent, spelled, EntryKind.DIRECTORY, made)
        listings = self._context.tree.listings
        if not inode.children and not listings.view(inode).changes:
            # It was made just now, so nobody need be asked what is in it.
            listings.fill(inode, (), asked_at)
        return inode

    async def symlink(self, parent: Inode, name: bytes, target: bytes) -> Inode:
        """Make a symbolic link: its file is written aside and gets its name in one step."""
        content = self._links.encode(target)
        spelled = await self._free_name(parent, name)
        temporary, empty = await self._private.empty_file()
        share = self._context.share
        if has_create_with_data(share.service_version):
            await share.create_file(temporary, len(content), data=content)
        else:
            await share.set_file_properties(temporary, size=len(content))
            await share.put_range(temporary, 0, content)
        now = floor_to_tick(self._context.wall_ns())
        try:
            async with self._context.gate.path(parent) as directory:
                with self._context.tree.doubting(parent):
                    made = await share.rename_file(
                        temporary,
                        directory.child(spelled),
                        expected_file_id=empty.file_id,
                        times=Times(last_write_ns=now, change_ns=now),
                    )
        except FileAlreadyExists:
            await share.delete_file(temporary)
            raise VfsError(errno.EEXIST, "the name exists") from None
        properties = replace(made, size=len(content), content=NEW_CONTENT)
        inode = self._made(parent, spelled, EntryKind.FILE, properties)
        inode.link, inode.link_of = target, inode.validator
        return inode

    async def _free_name(self, parent: Inode, name: bytes) -> str:
        """Spell a new name; EROFS and EEXIST are told before anything is asked for."""
        if self._context.options.read_only:
            raise VfsError(errno.EROFS, "the mount is read-only")
        spelled = self._namespace.service_name(parent, name)
        with self._context.inodes.held(await self._namespace.find(parent, name)) as found:
            if found is not None:
                raise VfsError(errno.EEXIST, "the name exists")
        return spelled

    def _made(self, parent: Inode, name: str, kind: EntryKind, properties: Properties) -> Inode:
        inodes = self._context.inodes
        holder = inodes.child(parent, name)
        if holder is not None and holder.file_id == properties.file_id:
            inode = holder  # a listing that was under way has shown it already
            inodes.learn_id(inode, properties)
        else:
            if holder is not None:
                self._context.tree.lose(holder)
            inode = inodes.add(parent, name, kind, properties)
        inode.checked_at = self._context.now()
        self._context.tree.added(inode)
        self._context.tree.touched(parent)
        return inode
