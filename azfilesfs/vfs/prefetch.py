"""Listing directories before a walk comes to them.

A program that goes through a tree (find, git status, rm -r) enters one directory after another, and
would wait a round trip for each. When it enters a second child of a directory, the next ones in the
order of the listing are listed ahead: two at first, more with each that was wanted, but no more
than it comes to within the TTL at its pace.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

import trio

from azfilesfs.errors import AzureFilesError
from azfilesfs.model.paths import name_key
from azfilesfs.model.properties import EntryKind
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.listings import DirectoryView
from azfilesfs.vfs.loading import DirectoryLoader

AHEAD = 16
"""Directories of one walk that are listed ahead at most."""

_HOLD_SECONDS = 5.0
_PAUSE_SECONDS = 5.0
_AT_ONCE = 64
_WALKS = 32
_MOST_NAMES = 20_000
_TTL_SHARE = 0.75
"""Of the TTL so much is counted on: directories differ in size."""

_LOG = logging.getLogger(__name__)


class _Walk:
    """A walk through the children of one directory, in the order of its listing.

    Attributes:
        listed_at: which listing the order is of.
        at: clock of the last look. stepped_at: of the last step to another child.
        pace: seconds that the last step took from one child to the next, or the one before it where
            that was quicker: one pause slows no walk down. None before the first step.
        places: place of each child directory in the order by the key of its name.
        names: the keys in this order.
        key: of the child that was entered last. last: its place, -1 where it has none.
        window: how many to list ahead.
    """

    __slots__ = (
        "_step_seconds", "at", "key", "last", "listed_at", "names", "pace", "places", "stepped_at",
        "window",
    )  # fmt: skip

    def __init__(self, key: str, now: float) -> None:
        self.key = key
        self.pace: float | None = None
        self.stepped_at = now
        self._step_seconds = float("inf")
        self.listed_at = self.at = float("-inf")
        self.places: dict[str, int] = {}
        self.names: list[str] = []
        self.last = -1
        self.window = 1

    def number(self, view: DirectoryView) -> None:
        """Take the order from a listing."""
        directory = EntryKind.DIRECTORY
        self.names = [key for key, entry in view.entries.items() if entry.kind is directory]
        self.places = {key: place for place, key in enumerate(self.names)}
        self.listed_at, self.last = view.listed_at, self.places.get(self.key, -1)

    def step(self, key: str, now: float, ttl: float, *, is_late: bool) -> list[str]:
        """Note that a child is entered; return those to list ahead.

        Fewer where it was listed so far ahead that the TTL was over when the walk came to it.
        """
        place = self.places.get(key)
        if place is None or place == self.last:
            return []
        is_onward = self.last < place <= self.last + AHEAD or self.last < 0
        self._measure(now, place - self.last if is_onward else 0)
        if is_late:
            self.window = max(self.window // 4, 1)
        else:
            self.window = min(self.window * 2, AHEAD) if is_onward else 1
        self.key, self.last = key, place
        count = min(self.window, self._within(ttl))
        return self.names[place + 1 : place + 1 + count] if is_onward else []

    def _measure(self, now: float, steps: int) -> None:
        """Note how long so many steps took; none where the walk begins anew."""
        before, self._step_seconds = self._step_seconds, (now - self.stepped_at) / max(steps, 1)
        self.pace = min(before, self._step_seconds) if steps else None
        self.stepped_at = now

    def _within(self, ttl: float) -> int:
        """Return how many children the walk will come to before the TTL of a listing is over."""
        return int(ttl * _TTL_SHARE / self.pace) if self.pace else AHEAD


class Prefetcher:
    """Watches which directories are entered, and lists ahead.

    Attributes:
        holding: number of directories that were listed ahead and that nobody refers to yet; each is
            kept for a few seconds.
    """

    def __init__(
        self,
        context: Context,
        loader: DirectoryLoader,
        is_fresh: Callable[[DirectoryView], bool],
    ) -> None:
        self._context = context
        self._loader = loader
        self._is_fresh = is_fresh
        self._walks: OrderedDict[Inode, _Walk] = OrderedDict()
        self._released = trio.Event()
        self.holding = 0

    def entered(self, directory: Inode, *, is_late: bool = False) -> None:
        """Note that a program wants the names of a directory; ``is_late``: of one that was listed
        ahead in vain.
        """
        parent = directory.parent
        if parent is None:
            return
        view = self._context.tree.listings.peek(parent)
        if view is None or not view.entries or len(view.entries) > _MOST_NAMES:
            return
        now, key = self._context.now(), name_key(directory.name)
        walk = self._walks.pop(parent, None)
        is_second = walk is not None and now - walk.at < _PAUSE_SECONDS
        if walk is None or not is_second:
            walk = _Walk(key, now)
        elif walk.listed_at != view.listed_at:
            walk.number(view)
        walk.at = now
        self._walks[parent] = walk
        if len(self._walks) > _WALKS:
            self._walks.popitem(last=False)
        if is_second:
            ttl = self._context.options.dir_ttl
            self._go_on(parent, view, walk.step(key, now, ttl, is_late=is_late))

    def _go_on(self, parent: Inode, view: DirectoryView, names: list[str]) -> None:
        for name in names:
            listed = view.entries.get(name)
            if listed is None or self.holding >= _AT_ONCE:
                continue
            child = self._context.inodes.child(parent, listed.name)
            if child is None:
                child = self._context.tree.materialize(parent, listed, view.listed_at)
            if child.is_directory and not self._is_at_hand(child):
                self.holding += 1
                self._context.nursery.start_soon(self._list, child)

    def _is_at_hand(self, directory: Inode) -> bool:
        if self._loader.under_way(directory) is not None:
            return True
        view = self._context.tree.listings.peek(directory)
        return view is not None and (view.is_large or self._is_fresh(view))

    async def _list(self, directory: Inode) -> None:
        """List a directory, and keep it until the walk had time to come to it."""
        options = self._context.options
        try:
            if self._context.inodes.number(directory.number) is not directory:
                return  # nobody knew it, and it was dropped before this task began
            with self._context.inodes.held(directory):
                await self._loader.start(directory, whole=False, is_wanted=False).beyond(0)
                with trio.move_on_after(min(options.dir_ttl, _HOLD_SECONDS)):
                    await self._released.wait()
        except (AzureFilesError, VfsError) as error:
            _LOG.debug("listing %r ahead: %s", directory, error)
        finally:
            self.holding -= 1

    def release(self) -> None:
        """Let go of what was listed ahead."""
        self._released.set()
        self._released = trio.Event()
