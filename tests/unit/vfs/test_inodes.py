"""The inode table: numbers, ids, places, and that nothing stays that nobody refers to."""

import errno

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from azfilesfs.model.inode_numbers import inode_number
from azfilesfs.model.paths import SharePath, name_key
from azfilesfs.model.properties import EntryKind, Properties
from azfilesfs.vfs.inodes import Inode, InodeTable, Place
from tests.unit.vfs.harness import expect

FILE, DIRECTORY = EntryKind.FILE, EntryKind.DIRECTORY


def properties(file_id: int | None, kind: EntryKind = FILE, etag: str = '"1"') -> Properties:
    """Return what a listing could say of an entry."""
    return Properties(kind=kind, size=1, etag=etag, file_id=file_id, change_time_ns=5)


def table() -> InodeTable:
    """Return an empty table over the root of a share."""
    return InodeTable(SharePath.ROOT)


def test_numbers_are_made_of_file_ids():
    """An inode has the number of its file id where that is free, else a small one of ours."""
    inodes = table()
    first = inodes.add(inodes.root, "a", FILE, properties(1 << 63))
    assert first.number == inode_number(1 << 63)
    assert inodes.number_for(1 << 63) == 2
    local = inodes.add(inodes.root, "b", FILE, None)
    assert local.number == 2
    assert inodes.add(inodes.root, "c", FILE, None).number == 3
    # The id 0 is the root's, and mixing leaves it as it is.
    assert inodes.add(inodes.root, "d", FILE, properties(0)).number == 4
    assert len(inodes) == 5


def test_paths():
    """A path follows the tree, below the directory that the mount begins at."""
    inodes = InodeTable(SharePath(("base",)))
    directory = inodes.add(inodes.root, "d", DIRECTORY, properties(10, DIRECTORY))
    file = inodes.add(directory, "f", FILE, properties(11))
    assert str(inodes.root.path()) == "base"
    assert str(file.path()) == "base/d/f"
    assert list(file.ancestors()) == [file, directory, inodes.root]
    inodes.move(directory, inodes.root, "e")
    assert str(file.path()) == "base/e/f"
    file.lookups = 1
    inodes.detach(file, Place.UNLINKED)
    with expect(errno.ESTALE):
        file.path()
    file.parked = SharePath(("parked",))
    assert str(file.path()) == "parked"
    assert "UNLINKED" in repr(file)


def test_what_is_unused_goes_with_what_only_it_kept():
    """Dropping a file drops the directories above it that nobody else refers to."""
    inodes = table()
    outer = inodes.add(inodes.root, "o", DIRECTORY, properties(10, DIRECTORY))
    inner = inodes.add(outer, "i", DIRECTORY, properties(11, DIRECTORY))
    file = inodes.add(inner, "f", FILE, properties(12))
    dropped: list[Inode] = []
    inodes.on_drop = dropped.append
    file.lookups = 1
    inodes.drop_if_unused(file)
    assert len(inodes) == 4
    file.lookups = 0
    inodes.drop_if_unused(file)
    assert len(inodes) == 1
    assert dropped == [file, inner, outer]
    assert not inodes.root.children
    assert inodes.file_id(12) is None


def test_what_is_used_stays():
    """Handles, children, a held lock and a task keep an inode."""
    inodes = table()
    file = inodes.add(inodes.root, "f", FILE, properties(12))
    file.handles = 1
    inodes.drop_if_unused(file)
    file.handles = 0
    assert inodes.number(inode_number(12)) is file
    with inodes.held(file) as held:
        assert held is file
        inodes.drop_if_unused(file)
        assert inodes.number(inode_number(12)) is file
    assert inodes.number(inode_number(12)) is None
    with inodes.held(None) as nothing:
        assert nothing is None


async def test_a_locked_inode_stays():
    """An upload that runs keeps its inode."""
    inodes = table()
    file = inodes.add(inodes.root, "f", FILE, properties(12))
    async with file.lock:
        inodes.drop_if_unused(file)
        assert inodes.number(inode_number(12)) is file
    inodes.drop_if_unused(file)
    assert inodes.number(inode_number(12)) is None


def test_learning_an_id():
    """A local file gets its id, a copied one another; the number stays."""
    inodes = table()
    file = inodes.add(inodes.root, "f", FILE, None)
    number = file.number
    assert file.place is Place.LOCAL
    assert file.validator is None
    assert file.file_id is None
    inodes.learn_id(file, properties(77))
    assert inodes.file_id(77) is file
    inodes.learn_id(file, properties(78))
    assert inodes.file_id(77) is None
    assert inodes.file_id(78) is file
    inodes.learn_id(file, properties(None))
    assert inodes.file_id(78) is None
    assert inodes.number(number) is file


def test_two_names_of_one_id():
    """A second inode with an id does not take the first one's place in the index."""
    inodes = table()
    first = inodes.add(inodes.root, "a", FILE, properties(50))
    second = inodes.add(inodes.root, "b", FILE, properties(50))
    assert inodes.file_id(50) is first
    assert second.number != first.number
    inodes.detach(second, Place.GONE)
    assert inodes.file_id(50) is first


def test_local_numbers_begin_again(monkeypatch):
    """At the end of the local numbers the first ones are used again."""
    monkeypatch.setattr("azfilesfs.vfs.inodes._LOCAL_NUMBERS_END", 4)
    inodes = table()
    first, second = (inodes.add(inodes.root, f"f{count}", FILE, None) for count in range(2))
    assert (first.number, second.number) == (2, 3)
    inodes.drop_if_unused(first)
    assert inodes.add(inodes.root, "again", FILE, None).number == 2


def test_symlink_state():
    """A link is one only in the version that was read."""
    inodes = table()
    file = inodes.add(inodes.root, "f", FILE, properties(5))
    file.link, file.link_of = b"t", file.validator
    assert file.is_symlink
    inodes.learn_id(file, properties(5, etag='"2"'))
    assert not file.is_symlink


class TableMachine(RuleBasedStateMachine):
    """Random histories of a table."""

    inodes = Bundle("inodes")

    @initialize(target=inodes)
    def start(self):
        """Begin with the root."""
        self.table = table()
        self.table.root.lookups = 1
        return self.table.root

    def alive(self, inode: Inode) -> bool:
        """Tell whether the table still has an inode."""
        return self.table.number(inode.number) is inode

    def directory(self, inode: Inode) -> bool:
        """Tell whether an inode can take entries."""
        return self.alive(inode) and inode.is_directory and inode.is_named

    @rule(
        target=inodes,
        parent=inodes,
        name=st.sampled_from("abAB"),
        file_id=st.sampled_from([None, 0, 1, 2, 3, 50, 51, 1 << 63]),
        is_directory=st.booleans(),
        lookups=st.integers(0, 2),
    )
    def add(self, parent, name, file_id, is_directory, lookups):
        """Add an inode, as the tree does, for a name that none holds."""
        if not self.directory(parent) or self.table.child(parent, name) is not None:
            return multiple()
        kind = DIRECTORY if is_directory else FILE
        shown = None if file_id is None and not is_directory else properties(file_id, kind)
        if file_id is not None and self.table.file_id(file_id) is not None:
            return multiple()
        inode = self.table.add(parent, name, kind, shown)
        inode.lookups = lookups
        return inode

    @rule(inode=inodes, lookups=st.integers(0, 1), handles=st.integers(0, 1))
    def refer(self, inode, lookups, handles):
        """Change who refers to an inode."""
        if self.alive(inode) and inode is not self.table.root:
            inode.lookups, inode.handles = lookups, handles
            self.table.drop_if_unused(inode)

    @rule(inode=inodes, parent=inodes, name=st.sampled_from("abAB"))
    def move(self, inode, parent, name):
        """Move a named inode to a free place."""
        if not (self.alive(inode) and inode.is_named and self.directory(parent)):
            return
        if inode is self.table.root or inode in parent.ancestors():
            return
        if self.table.child(parent, name) not in {None, inode}:
            return
        with self.table.held(inode):
            self.table.move(inode, parent, name)

    @rule(inode=inodes, place=st.sampled_from([Place.UNLINKED, Place.GONE]))
    def detach(self, inode, place):
        """Take a name away; what is below loses its own first."""
        is_leaf = inode is not self.table.root and not inode.children
        if self.alive(inode) and is_leaf and inode.is_named:
            self.table.detach(inode, place)

    @rule(inode=inodes, file_id=st.sampled_from([None, 60, 61, 62]))
    def learn(self, inode, file_id):
        """Take an answer with an id that no other inode has."""
        if self.alive(inode) and self.table.file_id(file_id or -1) in {None, inode}:
            self.table.learn_id(inode, properties(file_id, inode.kind))

    @rule(inode=inodes)
    def forget(self, inode):
        """Let go of an inode for good."""
        if self.alive(inode) and inode is not self.table.root:
            inode.lookups = inode.handles = 0
            self.table.drop_if_unused(inode)

    @invariant()
    def tables_agree(self):
        """By number, by id and by place the same inodes are found."""
        known = list(self.table)
        assert len(known) == len(self.table)
        for inode in known:
            assert self.table.number(inode.number) is inode
            if inode.parent is not None:
                assert self.alive(inode.parent)
                assert inode.parent.children[name_key(inode.name)] is inode
                assert inode.is_named
            for child in inode.children.values():
                assert child.parent is inode
                assert self.alive(child)
            if inode.file_id is not None and inode.place is not Place.GONE:
                assert self.table.file_id(inode.file_id) is inode
            assert inode.number > 1 or inode is self.table.root

    def teardown(self):
        """After everything was forgotten only the root is left."""
        if not hasattr(self, "table"):
            return
        for inode in list(self.table):
            if inode is not self.table.root:
                inode.lookups = inode.handles = 0
        for inode in list(self.table):
            self.table.drop_if_unused(inode)
        assert list(self.table) == [self.table.root]
        assert not self.table.root.children


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
