"""The listing cache against a plain dict: own changes win, names are counted, the oldest go."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from azfilesfs.model.paths import SharePath, name_key
from azfilesfs.model.properties import EntryKind, ListedEntry, Properties
from azfilesfs.vfs.inodes import Inode, InodeTable
from azfilesfs.vfs.listings import ListingCache

NEVER = float("-inf")
NAMES = st.sampled_from(["a", "A", "b", "c", "d", "e"])


def entry(name: str, size: int = 0) -> ListedEntry:
    """Return an entry of a listing."""
    return ListedEntry(name, Properties(kind=EntryKind.FILE, size=size))


def directories(count: int) -> list[Inode]:
    """Return some directories."""
    table = InodeTable(SharePath.ROOT)
    shown = Properties(kind=EntryKind.DIRECTORY)
    return [table.add(table.root, f"d{n}", EntryKind.DIRECTORY, shown) for n in range(count)]


def test_an_empty_view():
    """What was never listed has nothing and is as old as can be."""
    (directory,) = directories(1)
    view = ListingCache(10).view(directory)
    assert view.get("a") is None
    assert view.complete_at == NEVER


def test_filling_and_finding():
    """Names are found in any case; of two that differ in case only the first counts."""
    (directory,) = directories(1)
    cache = ListingCache(10)
    with cache.loading(directory):
        cache.fill(directory, [entry("Read", 1), entry("READ", 2), entry("b")], 5.0)
    view = cache.view(directory)
    assert view.complete_at == 5.0
    found = view.get("read")
    assert found is not None
    assert found.properties.size == 1
    assert cache.names == 2


def test_own_changes_outlive_a_listing_under_way():
    """What we did while pages arrived is applied to what they say."""
    (directory,) = directories(1)
    cache = ListingCache(10)
    with cache.loading(directory):
        cache.put(directory, entry("new", 7))
        cache.remove(directory, "old")
        cache.put(directory, entry("back", 8))
        cache.remove(directory, "back")
        cache.fill(directory, [entry("old"), entry("new", 1), entry("back"), entry("x")], 5.0)
    view = cache.view(directory)
    assert sorted(view.entries) == ["new", "x"]
    assert view.entries["new"].properties.size == 7
    assert not view.own
    assert cache.names == 2


def test_a_change_before_the_first_listing():
    """A view that is not complete is not begun by our own entries."""
    (directory,) = directories(1)
    cache = ListingCache(10)
    cache.put(directory, entry("a"))
    cache.remove(directory, "b")
    view = cache.view(directory)
    assert view.entries == {}
    assert view.changes == 2


def test_doubt_during_a_listing_stays():
    """A listing that was asked for before a change in doubt is not believed."""
    (directory,) = directories(1)
    cache = ListingCache(10)
    with cache.loading(directory):
        cache.expire(directory)
        cache.fill(directory, [entry("a")], 5.0)
    assert cache.view(directory).complete_at == NEVER
    with cache.loading(directory):
        cache.fill(directory, [entry("a")], 6.0)
    assert cache.view(directory).complete_at == 6.0


def test_expiring_and_dropping_what_is_not_there():
    """Nothing happens."""
    (directory,) = directories(1)
    cache = ListingCache(10)
    cache.expire(directory)
    cache.drop(directory)
    assert len(cache) == 0


def test_eviction_spares_what_is_being_listed():
    """The least recently used view goes, unless it is under way; the newest is kept whatever it
    holds.
    """
    one, two, three = directories(3)
    cache = ListingCache(6)
    cache.fill(one, [entry("a"), entry("b")], 1.0)
    with cache.loading(one):
        cache.fill(two, [entry("a"), entry("b")], 2.0)
        cache.fill(three, [entry("a"), entry("b"), entry("c")], 3.0)
        assert cache.view(one).complete_at == 1.0
        assert cache.view(two).complete_at == NEVER
    cache.fill(two, [entry(str(number)) for number in range(20)], 4.0)
    assert cache.view(two).complete_at == 4.0
    assert cache.view(one).complete_at == NEVER


class ListingMachine(RuleBasedStateMachine):
    """Random changes of a few directories, compared with dicts of what must be known."""

    def __init__(self):
        """Begin with nothing listed."""
        super().__init__()
        self.directories = directories(3)
        self.limit = 12
        self.cache = ListingCache(self.limit)
        self.remote: list[dict[str, ListedEntry]] = [{} for _ in self.directories]
        self.now = 0.0
        self.loading: dict[int, tuple] = {}

    @rule(which=st.integers(0, 2), name=NAMES, size=st.integers(0, 9))
    def put(self, which, name, size):
        """Make or change an entry, at the service and here."""
        self.remote[which][name_key(name)] = entry(name, size)
        self.cache.put(self.directories[which], entry(name, size))

    @rule(which=st.integers(0, 2), name=NAMES)
    def remove(self, which, name):
        """Remove an entry, at the service and here."""
        self.remote[which].pop(name_key(name), None)
        self.cache.remove(self.directories[which], name)

    @rule(which=st.integers(0, 2))
    def expire(self, which):
        """Doubt a listing."""
        self.cache.expire(self.directories[which])

    @rule(which=st.integers(0, 2))
    @precondition(lambda self: not self.loading)
    def drop(self, which):
        """Forget a directory."""
        self.cache.drop(self.directories[which])

    @rule(which=st.integers(0, 2))
    def begin(self, which):
        """Ask for a listing; the answer is what is there now."""
        if which not in self.loading:
            self.now += 1
            scope = self.cache.loading(self.directories[which])
            scope.__enter__()
            self.loading[which] = (scope, list(self.remote[which].values()), self.now)

    @rule(which=st.integers(0, 2), arrives=st.booleans())
    def end(self, which, arrives):
        """Take the listing in, or give it up."""
        if which in self.loading:
            scope, listed, asked_at = self.loading.pop(which)
            if arrives:
                self.cache.fill(self.directories[which], listed, asked_at)
            scope.__exit__(None, None, None)

    @invariant()
    def complete_views_are_true(self):
        """A view that counts as complete holds exactly what is there."""
        for directory, remote in zip(self.directories, self.remote, strict=True):
            view = self.cache._views.get(directory)
            if view is not None and view.complete_at > NEVER:
                assert view.entries == remote

    @invariant()
    def names_are_counted(self):
        """The number of names is that of all views, and bounded while nothing is under way."""
        views = self.cache._views.values()
        assert self.cache.names == sum(len(view.entries) for view in views)
        assert len(self.cache) == len(self.cache._views)


TestListings = ListingMachine.TestCase
TestListings.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
