"""What the last listing of each directory said, kept true under our own changes and bounded in
number.

Synchronous. A view is complete from one full listing until the TTL is over; our own creates,
renames and removals are applied to it,
and to a listing that was under way when they happened: what we changed ourselves we know better
than a page that is still arriving.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from azfilesfs.model.paths import name_key
from azfilesfs.model.properties import ListedEntry
from azfilesfs.vfs.inodes import Inode


@dataclass(slots=True, eq=False)
class DirectoryView:
    """The entries of one directory by folded name.

    Attributes:
        complete_at: clock at which the full listing was asked for, -inf while there is none.
        changes: number of changes that this mount made in the directory.
        loading: number of listings under way; while there are any, ``own`` collects our changes
            (None: removed).
        doubted: whether a listing under way must not be believed.
        large: whether the directory was last seen to have more entries than one page.
    """

    entries: dict[str, ListedEntry] = field(default_factory=dict)
    complete_at: float = float("-inf")
    changes: int = 0
    loading: int = 0
    own: dict[str, ListedEntry | None] = field(default_factory=dict)
    doubted: bool = False
    large: bool = False

    def get(self, name: str) -> ListedEntry | None:
        """Find an entry by name in any case."""
        return self.entries.get(name_key(name))


class ListingCache:
    """Views by directory, the least recently used dropped beyond a number of names.

    A view counts as one name more, so that empty directories are bounded as well.
    """

    def __init__(self, max_names: int) -> None:
        self._views: OrderedDict[Inode, DirectoryView] = OrderedDict()
        self._max_names = max_names
        self.names = 0

    def view(self, directory: Inode) -> DirectoryView:
        """Return the view of a directory, an empty one where there is none."""
        view = self._views.get(directory)
        if view is None:
            view = self._views[directory] = DirectoryView()
            self._evict(directory)
        self._views.move_to_end(directory)
        return view

    def __len__(self) -> int:
        return len(self._views)

    @contextmanager
    def loading(self, directory: Inode) -> Iterator[DirectoryView]:
        """Collect our own changes of a directory while it is being listed."""
        view = self.view(directory)
        view.loading += 1
        try:
            yield view
        finally:
            view.loading -= 1
            if not view.loading:
                view.own.clear()
                view.doubted = False

    def fill(self, directory: Inode, listed: Iterable[ListedEntry], asked_at: float) -> None:
        """Take a full listing that was asked for at a time; call it inside ``loading``."""
        entries: dict[str, ListedEntry] = {}
        for entry in listed:
            entries.setdefault(name_key(entry.name), entry)
        view = self.view(directory)
        for key, own in view.own.items():
            if own is None:
                entries.pop(key, None)
            else:
                entries[key] = own
        self.names += len(entries) - len(view.entries)
        view.entries, view.large = entries, False
        view.complete_at = float("-inf") if view.doubted else asked_at
        self._evict(directory)

    def put(self, directory: Inode, entry: ListedEntry) -> None:
        """Apply our own creation or change of an entry."""
        view, key = self.view(directory), name_key(entry.name)
        view.changes += 1
        if view.loading:
            view.own[key] = entry
        if key in view.entries or view.complete_at > float("-inf"):
            self.names += key not in view.entries
            view.entries[key] = entry

    def remove(self, directory: Inode, name: str) -> None:
        """Apply our own removal of an entry."""
        view, key = self.view(directory), name_key(name)
        view.changes += 1
        if view.loading:
            view.own[key] = None
        if view.entries.pop(key, None) is not None:
            self.names -= 1

    def expire(self, directory: Inode) -> None:
        """Stop believing the listing of a directory."""
        view = self._views.get(directory)
        if view is not None:
            view.complete_at = float("-inf")
            view.doubted = view.loading > 0

    def drop(self, directory: Inode) -> None:
        """Forget everything about a directory that is no longer in use."""
        view = self._views.pop(directory, None)
        if view is not None:
            self.names -= len(view.entries)

    def _evict(self, keep: Inode) -> None:
        if self.names + len(self._views) <= self._max_names:
            return
        for directory in list(self._views):
            if self.names + len(self._views) <= self._max_names:
                return
            view = self._views[directory]
            if directory is not keep and not view.loading:
                self.names -= len(view.entries)
                del self._views[directory]
