"""From names to inodes.

Lookups, listings, and what becomes of an inode when the service tells another story.

The one way from an answer to an inode is its file id. Answers that were under way while this mount
changed the same directory or file are used for the caller that asked and not remembered.
"""

from __future__ import annotations

import errno
import logging

import trio

from azfilesfs.errors import (
    DirectoryNotFound,
    FileNotFound,
    InvalidPath,
    ParentNotFound,
    PermissionDenied,
    ResourceTypeMismatch,
)
from azfilesfs.model.names import literal, to_local, to_service
from azfilesfs.model.paths import fold
from azfilesfs.model.properties import ListedEntry, Properties
from azfilesfs.model.symlinks import SYMLINK_FILE_BYTES
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.listings import DirectoryView
from azfilesfs.vfs.types import Symlinks

PRIVATE_DIRECTORY = ".azfilesfs"
_ATTEMPTS = 3
_LOG = logging.getLogger(__name__)
_MISSING = (FileNotFound, DirectoryNotFound, ParentNotFound, ResourceTypeMismatch)


class Namespace:
    """The tree as this mount knows it.

    ``on_lost`` is called with an inode that was removed or replaced by other hands while it had
    local changes.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tree = context.tree
        self._loading: dict[Inode, trio.Event] = {}
        self._may_list = True
        uses_links = context.options.symlinks is Symlinks.MF
        self._link_size = SYMLINK_FILE_BYTES if uses_links else None

    # -- names -----------------------------------------------------------------------------------

    def service_name(self, parent: Inode, name: bytes) -> str:
        """Spell a local name for the service.

        Raises:
            InvalidPath: the name is forbidden, or belongs to this program's own directory.
        """
        spelled = to_service(name)
        if self.is_private(parent, spelled):
            raise VfsError(errno.EPERM, "the name is kept for azfilesfs itself")
        parent.path().child(spelled).check()
        return spelled

    def is_private(self, parent: Inode, name: str) -> bool:
        """Tell whether a name is that of our own directory in the root of the share."""
        return (
            fold(name) == fold(PRIVATE_DIRECTORY)
            and parent.parent is None
            and parent.path().is_root
        )

    async def lookup(self, parent: Inode, name: bytes) -> Inode:
        """Find the inode of a name.

        Raises:
            VfsError: ENOENT where there is none.
            AzureFilesError: the service could not be asked, or the name is forbidden.
        """
        inode = await self.find(parent, name)
        if inode is None:
            raise VfsError(errno.ENOENT, "no such entry")
        return inode

    async def find(self, parent: Inode, name: bytes) -> Inode | None:
        """Find the inode of a name, None where there is none; otherwise as ``lookup``."""
        if not parent.is_directory:
            raise VfsError(errno.ENOTDIR, "it is not a directory")
        spelled = to_service(name)
        if self.is_private(parent, spelled):
            return None
        parent.path().child(spelled).check()
        inode = await self.child(parent, spelled)
        other = literal(name) if inode is None else None
        return await self.child(parent, other) if other is not None else inode

    async def child(self, parent: Inode, name: str) -> Inode | None:
        """Find the inode of a service name, None where there is no such entry."""
        for _ in range(_ATTEMPTS):
            known = self._context.inodes.child(parent, name)
            if known is not None and self._tree.is_known(known):
                return known
            view = self._tree.listings.view(parent)
            if not self._is_fresh(view) and not view.large and self._may_list:
                view = await self.load(parent, whole=False)
            if self._is_fresh(view):
                return self._from_view(parent, name, view)
            changes = view.changes
            listed = await self._ask(parent, name)
            if view.changes == changes:
                return self._resolve(parent, name, listed, self._context.now())
        return self._context.inodes.child(parent, name)

    def absent_since(self, parent: Inode) -> float:
        """Return since when the names of a directory are known in full, for a name that was just
        not found.
        """
        complete_at = self._tree.listings.view(parent).complete_at
        return complete_at if complete_at > float("-inf") else self._context.now()

    def _from_view(self, parent: Inode, name: str, view: DirectoryView) -> Inode | None:
        return self._resolve(parent, name, view.get(name), view.complete_at)

    def _resolve(
        self, parent: Inode, name: str, listed: ListedEntry | None, at: float
    ) -> Inode | None:
        known = self._context.inodes.child(parent, name)
        if listed is not None:
            return self._tree.materialize(parent, listed, at)
        if known is not None and not self._tree.outlives(known, at):
            self._tree.lose(known)
            return None
        return known

    async def _ask(self, parent: Inode, name: str) -> ListedEntry | None:
        """Ask for one name: a HEAD for a file, then a GET for a directory."""
        share = self._context.share
        async with self._context.gate.path(parent) as directory:
            path = directory.child(name)
            for ask in (share.get_file_properties, share.get_directory_properties):
                try:
                    return ListedEntry(name, await ask(path))
                except _MISSING:
                    continue
                except PermissionDenied:
                    # A credential for files only cannot see directories: to it there are none.
                    if ask == share.get_file_properties:
                        raise
        return None

    # -- listings --------------------------------------------------------------------------------

    def _is_fresh(self, view: DirectoryView) -> bool:
        return self._context.now() - view.complete_at < self._context.options.dir_ttl

    async def load(self, directory: Inode, *, whole: bool = True) -> DirectoryView:
        """Return a view of a directory that is complete and within its TTL, listing it where
        needed.

        With ``whole=False`` a directory of more than one page is marked large and the view comes
        back as it was. One listing of a directory is under way at a time; a cancelled one is taken
        up by whoever waits.
        """
        while directory in self._loading:
            await self._loading[directory].wait()
        view = self._tree.listings.view(directory)
        if self._is_fresh(view) or (view.large and not whole):
            return view
        self._loading[directory] = loaded = trio.Event()
        try:
            with self._tree.listings.loading(directory) as view:
                await self._list(directory, view, whole=whole)
                return view
        finally:
            del self._loading[directory]
            loaded.set()

    async def _list(self, directory: Inode, view: DirectoryView, *, whole: bool) -> None:
        asked_at = self._context.now()
        entries: list[ListedEntry] = []
        marker: str | None = None
        while True:
            try:
                async with self._context.gate.path(directory) as path:
                    page = await self._context.share.list_page(path, marker=marker)
            except PermissionDenied:
                if whole:
                    raise
                self._note_no_listing()
                return
            except _MISSING:
                self._tree.lose(directory)
                raise
            entries.extend(page.entries)
            marker = page.next_marker
            if marker is None:
                self._tree.listings.fill(directory, entries, asked_at)
                return
            if not whole:
                view.large = True
                return

    def _note_no_listing(self) -> None:
        if self._may_list:
            self._may_list = False
            _LOG.warning("the credential may not list directories: names are looked up one by one")

    async def names(self, directory: Inode) -> list[tuple[bytes, Inode | ListedEntry]]:
        """Return the names of a directory with what is known of each.

        Its inode, or else its listing entry.
        """
        view = await self.load(directory)
        inodes = self._context.inodes
        result: list[tuple[bytes, Inode | ListedEntry]] = []
        refused = 0
        for listed in view.entries.values():
            if self.is_private(directory, listed.name):
                continue
            try:
                shown = to_local(listed.name)
            except InvalidPath:
                refused += 1
                continue
            known = inodes.child(directory, listed.name) or self._known_elsewhere(listed)
            if known is not None or listed.properties.size == self._link_size:
                known = self._tree.materialize(directory, listed, view.complete_at)
            result.append((shown, known if known is not None else listed))
        for key, child in list(directory.children.items()):
            if key not in view.entries and self._tree.outlives(child, view.complete_at):
                result.append((to_local(child.name), child))
        if refused:
            _LOG.warning(
                "%d names in the listing of %r cannot be shown and are left out",
                refused,
                str(directory.path()),
            )
        return result

    def _known_elsewhere(self, listed: ListedEntry) -> Inode | None:
        file_id = listed.properties.file_id
        return None if file_id is None else self._context.inodes.file_id(file_id)

    async def refresh(self, inode: Inode) -> Properties:
        """Ask the service about an inode and take the answer.

        Raises:
            VfsError: ESTALE where the path is gone or shows another file; the inode is lost then.
        """
        share, asked_at, changes = self._context.share, self._context.now(), inode.changes
        try:
            async with self._context.gate.path(inode) as path:
                if inode.is_directory:
                    properties = await share.get_directory_properties(path)
                else:
                    properties = await share.get_file_properties(path, lease_id=inode.lease_id)
        except _MISSING:
            if inode.changes == changes:
                self._tree.lose(inode)
            raise VfsError(errno.ESTALE, "the file was removed by another client") from None
        self._tree.check_identity(inode, properties)
        if inode.changes == changes:
            self._tree.take(inode, properties, asked_at)
        return properties
