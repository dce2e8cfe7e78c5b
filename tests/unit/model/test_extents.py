"""The set of dirty bytes against a plain set of numbers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.ranges import ByteRange

END = 60
extents = st.tuples(st.integers(0, END), st.integers(0, END)).map(
    lambda ends: ByteRange(min(ends), max(ends))
)


def members(given_extents) -> set[int]:
    """Return the bytes of some intervals."""
    return {byte for extent in given_extents for byte in range(*extent)}


class ExtentMachine(RuleBasedStateMachine):
    """Any sequence of changes leaves the same bytes as a set would have."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.map = ExtentMap()
        self.bytes: set[int] = set()

    @rule(extent=extents)
    def add(self, extent):
        """Add an interval."""
        self.map.add(extent)
        self.bytes |= set(range(*extent))

    @rule(extent=extents)
    def remove(self, extent):
        """Take one out."""
        self.map.remove(extent)
        self.bytes -= set(range(*extent))

    @rule(size=st.integers(0, END))
    def truncate(self, size):
        """Cut the end off."""
        self.map.truncate(size)
        self.bytes = {byte for byte in self.bytes if byte < size}

    @rule()
    def clear(self):
        """Take everything out."""
        self.map.clear()
        self.bytes.clear()

    @rule()
    def copy(self):
        """Go on with a copy; the original no longer matters."""
        original, self.map = self.map, self.map.copy()
        assert original == self.map
        original.add(ByteRange(0, END))

    @rule(window=extents)
    def look(self, window):
        """What lies in a window, what does not, and whether all does."""
        inside = self.bytes & set(range(*window))
        assert members(self.map.within(window)) == inside
        assert members(self.map.gaps(window)) == set(range(*window)) - inside
        assert self.map.covers(window) is (len(inside) == window.length)

    @invariant()
    def same_bytes(self):
        """The intervals are the set's bytes: sorted, disjoint, never touching."""
        found = list(self.map)
        assert members(found) == self.bytes
        assert self.map.total == len(self.bytes)
        assert len(self.map) == len(found)
        assert bool(self.map) is bool(self.bytes)
        assert all(one.stop < two.start for one, two in pairwise(found))
        assert all(extent.start < extent.stop for extent in found)


TestExtents = ExtentMachine.TestCase


@given(st.lists(extents, max_size=8))
def test_construction_and_equality(given_extents):
    """The order in which intervals are added does not matter."""
    forwards, backwards = ExtentMap(given_extents), ExtentMap(reversed(given_extents))

    assert forwards == backwards
    assert members(forwards) == members(given_extents)


def test_representation():
    """A map shows its intervals, equals no list, and does not change under an iteration."""
    extent_map = ExtentMap([ByteRange(0, 2), ByteRange(4, 6)])

    assert repr(extent_map) == f"ExtentMap({[ByteRange(0, 2), ByteRange(4, 6)]!r})"
    assert extent_map != [ByteRange(0, 2), ByteRange(4, 6)]
    for extent in extent_map:
        extent_map.remove(extent)
    assert not extent_map
