"""From names to inodes.

Lookups, listings, and what becomes of an inode when the service tells another story.

The one way from an answer to an inode is its file id. Answers that were under way while this mount
changed the same directory or file are used for the caller that asked and not remembered.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable

import trio

from azfilesfs.errors import AzureFilesError, PermissionDenied
from azfilesfs.model.names import literal, to_service
from azfilesfs.model.paths import SharePath, fold, name_key
from azfilesfs.model.properties import EntryKind, ListedEntry, Properties
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.listings import DirectoryLoad, DirectoryView
from azfilesfs.vfs.loading import MISSING, DirectoryLoader
from azfilesfs.vfs.prefetch import Prefetcher
from azfilesfs.vfs.types import PRIVATE_DIRECTORY

_ATTEMPTS = 3
_LOG = logging.getLogger(__name__)
_NEVER = float("-inf")

_FEW_NAMES = 256
"""A listing of so many is not much dearer than the question for one."""


class Namespace:
    """The tree as this mount knows it.

    Attributes:
        prefetcher: lists directories before a walk comes to them.

    ``on_lost`` is called with an inode that was removed or replaced by other hands while it had
    local changes.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tree = context.tree
        self._loader = DirectoryLoader(context, self._tree.lose)
        self.prefetcher = Prefetcher(context, self._loader, self._is_fresh)
        self._may_list = True

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
            parent.parent is None
            and fold(name) == fold(PRIVATE_DIRECTORY)
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
        """Find the inode of a service name, None where there is no such entry.

        One listing answers for a whole small directory. In a large one the first names are asked
        for one by one; it is listed, in the background, when that many were wanted within a TTL
        that it has paid.
        """
        for _ in range(_ATTEMPTS):
            known = self._context.inodes.child(parent, name)
            if known is not None and self._tree.is_known(known):
                return known
            view = self._tree.listings.view(parent)
            self._enter(parent, view)
            if not self._is_fresh(view) and self._lists_first(parent, view, known):
                view = await self._first_page(parent, view)
            if self._is_fresh(view):
                return self._from_view(parent, name, view)
            arrived, at = self._arriving(parent, name, view)
            if arrived is not None:
                return self._resolve(parent, name, arrived, at)
            changes, kind = view.changes, known.kind if known is not None else None
            listed = await self._ask(parent, name, kind)
            if view.changes == changes:
                return self._resolve(parent, name, listed, self._context.now())
        return self._context.inodes.child(parent, name)

    def _lists_first(self, parent: Inode, view: DirectoryView, known: Inode | None) -> bool:
        """Decide whether a lookup waits for the first page, and begin a listing of all.

        Names of a listing that is under way are looked for in what has arrived of it.
        """
        if not self._may_list:
            return False
        load = self._loader.under_way(parent)
        if load is not None:
            return not load.pages
        if view.is_large:
            asked = view.asked_by_name(self._context.now(), self._context.options.dir_ttl)
            if asked >= view.pages - 1:
                self._loader.start(parent, whole=True)
            return False
        if known is None or len(view.entries) <= _FEW_NAMES:
            return True
        return view.asked_by_name(self._context.now(), self._context.options.dir_ttl) > 0

    def _enter(self, directory: Inode, view: DirectoryView) -> None:
        """Note that a program wants names of a directory that were not asked for by one yet."""
        is_fresh, was_ahead = self._is_fresh(view), view.is_ahead
        if was_ahead or not (is_fresh or view.is_large):
            view.is_ahead = False
            if self._may_list:
                self.prefetcher.entered(directory, is_late=was_ahead and not is_fresh)

    async def _first_page(self, parent: Inode, view: DirectoryView) -> DirectoryView:
        load = self._loader.start(parent, whole=False)
        try:
            await load.beyond(0)
        except PermissionDenied:
            self._note_no_listing()
            return view
        if not load.is_complete:
            view.asked_by_name(self._context.now(), self._context.options.dir_ttl)
        return self._tree.listings.view(parent)

    def _arriving(
        self, parent: Inode, name: str, view: DirectoryView
    ) -> tuple[ListedEntry | None, float]:
        """Look for a name in what has arrived of a listing under way."""
        load, key = self._loader.under_way(parent), name_key(name)
        if load is None or key in view.own or view.doubted:
            return None, _NEVER
        return load.by_key.get(key), load.asked_at

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

    async def _ask(self, parent: Inode, name: str, kind: EntryKind | None) -> ListedEntry | None:
        """Ask for one name: by its kind if that is known, else for both kinds at once."""
        share = self._context.share
        async with self._context.gate.path(parent) as directory:
            path = directory.child(name)
            file = _Question(share.get_file_properties, path)
            folder = _Question(share.get_directory_properties, path)
            if kind is None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(file.ask)
                    nursery.start_soon(folder.ask)
            elif kind is EntryKind.FILE:
                await file.ask()
            else:
                await folder.ask()
            if kind is not None and file.answer is None and folder.answer is None:
                await (folder if kind is EntryKind.FILE else file).ask()
        answer = file.answer if file.answer is not None else folder.answer
        if answer is not None:
            return ListedEntry(name, answer)
        if file.error is not None:
            raise file.error
        # A credential for files only cannot see directories: to it there are none.
        if folder.error is not None and not isinstance(folder.error, PermissionDenied):
            raise folder.error
        return None

    # -- listings --------------------------------------------------------------------------------

    def _is_fresh(self, view: DirectoryView) -> bool:
        age = self._context.now() - view.believed_from
        return view.complete_at > _NEVER and age < self._context.options.dir_ttl

    def _note_no_listing(self) -> None:
        if self._may_list:
            self._may_list = False
            _LOG.warning("the credential may not list directories: names are looked up one by one")

    def open_listing(self, directory: Inode) -> DirectoryView | DirectoryLoad:
        """Return a view of a directory within its TTL, or else a listing that is under way."""
        view = self._tree.listings.view(directory)
        self._enter(directory, view)
        if self._is_fresh(view):
            return view
        return self._loader.start(directory, whole=True)

    async def renew(self, inode: Inode) -> None:
        """Bring what is known of an inode within the TTL: from a listing, or by asking.

        Raises:
            VfsError: as ``refresh``.
        """
        parent = inode.parent
        view = self._tree.listings.peek(parent) if parent is not None else None
        is_doubted = inode.checked_at == _NEVER
        if parent is not None and view is not None and not is_doubted:
            fresh = self._is_fresh(view)
            listed, at = self._arriving(parent, inode.name, view)
            if fresh:
                listed, at = view.get(inode.name), view.complete_at
            if listed is not None and listed.file_id in {None, inode.file_id}:
                self._tree.take(inode, listed, at)
        if not self._tree.is_known(inode):
            await self.refresh(inode)

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
        except MISSING:
            if inode.changes == changes:
                self._tree.lose(inode)
            raise VfsError(errno.ESTALE, "the file was removed by another client") from None
        self._tree.check_identity(inode, properties)
        if inode.changes == changes:
            self._tree.take(inode, properties, asked_at)
        return properties


class _Question:
    """A question for the properties of a path, and what came of it."""

    def __init__(self, how: Callable[[SharePath], Awaitable[Properties]], path: SharePath) -> None:
        self._how = how
        self._path = path
        self.answer: Properties | None = None
        self.error: AzureFilesError | None = None

    async def ask(self) -> None:
        """Ask; that nothing is there is no error."""
        try:
            self.answer = await self._how(self._path)
        except MISSING:
            return
        except AzureFilesError as error:
            self.error = error
