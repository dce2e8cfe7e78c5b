"""What the last listing of each directory said, kept true under our own changes and bounded in
number.

A view is complete from one full listing until the TTL is over; our own creates, renames and
removals are applied to it, and to a listing that was under way when they happened: what we changed
ourselves we know better than a page that is still arriving.

Synchronous, but for waiting until another page has arrived.
"""

from __future__ import annotations

import copy
import errno
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from azfilesfs.client import Priority, Urgency
from azfilesfs.model.paths import name_key
from azfilesfs.model.properties import ListedEntry
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode

_NEVER: Final = float("-inf")


@dataclass(slots=True, eq=False)
class DirectoryView:
    """The entries of one directory by folded name.

    Attributes:
        complete_at: clock at which the full listing was asked for, -inf while there is none. An
            answer about an entry that was asked for later is newer.
        believed_from: clock from which the TTL of the listing counts: that moment, or for a
            directory of more than one page when the last one arrived, or was last read on.
        changes: number of changes that this mount made in the directory.
        loading: number of listings under way; while there are any, ``own`` collects our changes
            (None: removed).
        doubted: whether a listing under way must not be believed.
        load: the listing under way, None while there is none.
        pages: how many pages the directory was last seen to have, at least; 0 for never listed.
        listed_at: as ``complete_at``, whatever has become doubtful since.
        is_ahead: whether it was listed before anybody wanted it.
        by_name: lookups in it that were asked by name since ``by_name_since``.
    """

    entries: dict[str, ListedEntry] = field(default_factory=dict)
    complete_at: float = _NEVER
    believed_from: float = _NEVER
    changes: int = 0
    loading: int = 0
    own: dict[str, ListedEntry | None] = field(default_factory=dict)
    doubted: bool = False
    load: DirectoryLoad | None = None
    pages: int = 0
    listed_at: float = _NEVER
    is_ahead: bool = False
    by_name: int = 0
    by_name_since: float = _NEVER

    def get(self, name: str) -> ListedEntry | None:
        """Find an entry by name in any case."""
        return self.entries.get(name_key(name))

    @property
    def is_large(self) -> bool:
        """Whether the directory was last seen to have more entries than one page."""
        return self.pages > 1

    def asked_by_name(self, now: float, ttl: float) -> int:
        """Count one more lookup that is asked by name; return how many there were within a TTL."""
        if now - self.by_name_since >= ttl:
            self.by_name, self.by_name_since = 0, now
        self.by_name += 1
        return self.by_name - 1


class DirectoryLoad:
    """One listing of a directory, under way or ended.

    Attributes:
        asked_at: clock at which the first page was asked for.
        arrived_at: clock at which the last page arrived.
        order: the entries so far, as they arrived; of names that differ in case only the first.
        by_key: the same by the key of their name.
        own: what this mount changed while the listing was under way (None: removed); complete when
            the listing has ended.
        pages: number of pages so far.
        priority: of its requests when it began. urgency: what raises it later.
        whole: whether somebody wants more than the first page.
        ended: whether nothing more will arrive. is_complete: and everything has.
        error: why it ended early, None where nothing failed.
    """

    def __init__(
        self, asked_at: float, *, whole: bool, priority: Priority = Priority.FOREGROUND
    ) -> None:
        self.priority = priority
        self.urgency: Urgency | None = None
        self.asked_at = asked_at
        self.arrived_at = asked_at
        self.order: list[ListedEntry] = []
        self.by_key: dict[str, ListedEntry] = {}
        self.own: dict[str, ListedEntry | None] = {}
        self.pages = 0
        self.whole = whole
        self.ended = False
        self.is_complete = False
        self.error: Exception | None = None
        self._progress = trio.Event()

    def add(self, entries: tuple[ListedEntry, ...], now: float) -> None:
        """Take in a page."""
        for entry in entries:
            if self.by_key.setdefault(name_key(entry.name), entry) is entry:
                self.order.append(entry)
        self.pages += 1
        self.arrived_at = now
        self.tell()

    def want(self) -> None:
        """Say that somebody waits for it."""
        self.priority = Priority.FOREGROUND
        if self.urgency is not None:
            self.urgency.promote()

    def tell(self) -> None:
        """Wake whoever waits."""
        self._progress.set()
        self._progress = trio.Event()

    async def beyond(self, pages: int) -> None:
        """Wait until there are more pages than this, or nothing more will arrive.

        Raises:
            AzureFilesError, VfsError: the listing failed; an object of the caller's own.
        """
        while self.pages <= pages and not self.ended:
            await self._progress.wait()
        if self.pages <= pages and not self.is_complete:
            error = self.error if self.error is not None else VfsError(errno.EIO, "unfinished")
            raise copy.copy(error) from error


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

    def peek(self, directory: Inode) -> DirectoryView | None:
        """Return the view of a directory without counting that as a use; None without one."""
        return self._views.get(directory)

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
        """Take a full listing of one page that was asked for at a time."""
        load = DirectoryLoad(asked_at, whole=False)
        load.add(tuple(listed), asked_at)
        self.take_over(directory, self.view(directory), load)

    def take_over(self, directory: Inode, view: DirectoryView, load: DirectoryLoad) -> None:
        """Take a listing that is complete; call it inside ``loading``, with the view of that."""
        if self._views.get(directory) is not view:
            return  # the directory was lost meanwhile
        entries = load.by_key
        for key, own in view.own.items():
            if own is None:
                entries.pop(key, None)
            else:
                entries[key] = own
        self.names += len(entries) - len(view.entries)
        view.entries, view.pages = entries, load.pages
        view.by_name = 0
        view.listed_at = load.asked_at
        view.is_ahead = load.priority is not Priority.FOREGROUND
        view.complete_at = _NEVER if view.doubted else load.asked_at
        view.believed_from = load.arrived_at if view.is_large else load.asked_at
        self._evict(directory)

    def newest(self, directory: Inode, listed: ListedEntry, asked_at: float) -> ListedEntry | None:
        """Return what is known by now of an entry of an earlier listing, None where it is gone."""
        view = self._views.get(directory)
        if view is None:
            return listed
        key = name_key(listed.name)
        if view.loading and key in view.own:
            return view.own[key]
        return view.entries.get(key) if view.complete_at >= asked_at else listed

    def put(self, directory: Inode, entry: ListedEntry) -> None:
        """Apply our own creation or change of an entry."""
        view, key = self.view(directory), name_key(entry.name)
        view.changes += 1
        if view.loading:
            view.own[key] = entry
        if key in view.entries or view.complete_at > _NEVER:
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
            view.complete_at = _NEVER
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
