"""What one open directory shows: its names in the order of their offsets, as they arrive.

Offsets that the kernel gets are positions here, so a name that was shown keeps its place until the
program begins anew.
"""

from __future__ import annotations

from azfilesfs.model.paths import name_key
from azfilesfs.model.properties import ListedEntry
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.listings import DirectoryLoad, DirectoryView, ListingCache
from azfilesfs.vfs.tree import Tree


class Snapshot:
    """The names of a directory, from a listing that is known or under way.

    Attributes:
        names: entries of the listing, and then the inodes that only this mount knows.
        asked_at: clock at which the listing was asked for.
        links: inodes that were made to find out whether they are links.
        refused: positions of names that cannot be shown.
    """

    def __init__(self, tree: Tree, directory: Inode, source: DirectoryView | DirectoryLoad) -> None:
        self._tree = tree
        self._directory = directory
        self.names: list[ListedEntry | Inode] = []
        self.links: list[Inode] = []
        self.refused: set[int] = set()
        self._load: DirectoryLoad | None = None
        self._taken = self._pages = 0
        if isinstance(source, DirectoryLoad):
            self.asked_at = source.asked_at
            self._load = source
        else:
            self.asked_at = source.complete_at
            self.names.extend(source.entries.values())
            self._add_local({})

    @property
    def is_whole(self) -> bool:
        """Whether nothing more will come."""
        return self._load is None

    def age(self, now: float) -> float:
        """Return for how long what is here is believed already."""
        if self._load is not None and not self._load.ended:
            return 0.0
        view = self._tree.listings.peek(self._directory)
        if view is None or view.complete_at != self.asked_at:
            return now - self.asked_at
        return now - view.believed_from

    async def reach(self, position: int) -> None:
        """Wait until there is a name at a position, or nothing more will come.

        Raises:
            AzureFilesError, VfsError: the listing failed before it came so far.
        """
        while self._load is not None and position >= len(self.names):
            await self._load.beyond(self._pages)
            self._take(self._load, self._tree.listings)

    def _take(self, load: DirectoryLoad, listings: ListingCache) -> None:
        view = listings.peek(self._directory)
        own = load.own if load.ended or view is None else view.own
        arrived = load.order[self._taken :] if self._taken else load.order
        if own:
            # What this mount changed meanwhile comes at the end.
            self.names.extend(entry for entry in arrived if name_key(entry.name) not in own)
        else:
            self.names.extend(arrived)
        self._taken, self._pages = len(load.order), load.pages
        if load.is_complete and load.ended:
            self._load = None
            self._add_local(load.own)

    def _add_local(self, own: dict[str, ListedEntry | None]) -> None:
        """Add what this mount made: during the listing, or without having sent it."""
        local = {
            key: child
            for key, child in self._directory.children.items()
            if self._tree.outlives(child, self.asked_at)
        }
        if not local and not any(own.values()):
            return
        shown = {name_key(known.name) for known in self.names}
        for key, entry in own.items():
            if entry is not None and key not in shown:
                self.names.append(entry)
                shown.add(key)
        self.names.extend(child for key, child in local.items() if key not in shown)
