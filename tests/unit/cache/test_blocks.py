"""How cached bytes are cut, named and sealed."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.cache.blocks import (
    BLOCK_BYTES,
    HEADER_BYTES,
    SLAB_BLOCKS,
    SLAB_BYTES,
    Place,
    Table,
    block_count,
    block_range,
    block_runs,
    place_of,
    runs_of,
    slab_range,
)
from azfilesfs.model.versions import Validator
from tests.unit.cache.data import content, version


@settings(deadline=None)
@given(st.integers(0, 10 * BLOCK_BYTES))
def test_blocks_tile_the_file(size):
    """The blocks of a file follow each other without gap or overlap up to its end."""
    ranges = [block_range(index, size) for index in range(block_count(size))]

    assert [0, *(window.stop for window in ranges)] == [*(window.start for window in ranges), size]
    assert all(0 < window.length <= BLOCK_BYTES for window in ranges)
    assert block_range(block_count(size) + 3, size).length == 0


@settings(deadline=None)
@given(st.integers(1, 3 * SLAB_BYTES), st.data())
def test_each_byte_has_one_place(size, data):
    """The slabs of a file are as long as the file, and a block has its own bytes of one of them."""
    validator = version(size=size)
    slabs = range(-(-size // SLAB_BYTES))
    places = [place_of(validator, slab) for slab in slabs]
    index = data.draw(st.integers(0, block_count(size) - 1))
    slab, position = divmod(index, SLAB_BLOCKS)
    window = places[slab].window(position, position + 1)

    assert len({place.key for place in places}) == len(places)
    assert sum(place.length for place in places) == size
    assert all(place.blocks == block_count(place.length) for place in places)
    start = slab_range(slab, size).start
    assert (start + window.start, start + window.stop) == block_range(index, size)


def test_tables_fit_before_the_bytes():
    """The largest table ends before the bytes begin; a slab of one block has them at once."""
    full, single = Place("k", SLAB_BLOCKS, SLAB_BYTES), Place("k", 1, 100)

    assert len(Table(full).pack()) <= full.data_start == HEADER_BYTES
    assert len(Table(single).pack()) == single.data_start


def test_keys_tell_versions_apart():
    """Each part of a validator changes the keys."""
    base = Validator(1, '"0x1"', 10, 5)
    others = [
        base._replace(file_id=2),
        base._replace(etag='"0x2"'),
        base._replace(size=11),
        base._replace(change_time_ns=6),
    ]

    assert len({place_of(each, 0).key for each in [base, *others]}) == 5


@given(st.lists(st.booleans(), max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_runs_are_what_is_marked(marks, first, stop):
    """The runs between two blocks hold all that is marked there, and are as long as they can be."""
    stop = min(stop, len(marks))
    runs = runs_of(bytes(marks), first, stop)

    assert [index for run in runs for index in run] == [i for i in range(first, stop) if marks[i]]
    assert all(one.stop < other.start for one, other in pairwise(runs))


def sealed(place: Place, first: int, data: bytes) -> Table:
    """Return a table of some consecutive blocks, as it is read back."""
    table = Table(place)
    table.seal(first, data)
    table.mark(first, first + block_count(len(data)))
    return Table.unpack(place, table.pack())


def test_blocks_of_a_slab_are_checked_one_by_one():
    """Any run of blocks that was sealed is confirmed without the rest of the slab."""
    validator = version()
    place = place_of(validator, 1)
    data = content(validator)[SLAB_BYTES : 2 * SLAB_BYTES]
    table = sealed(place, 10, data[10 * BLOCK_BYTES : 100 * BLOCK_BYTES])

    assert runs_of(table.present, 0, SLAB_BLOCKS) == [range(10, 100)]
    for first, stop in ((10, 100), (50, 51), (99, 100)):
        table.check(first, data[first * BLOCK_BYTES : stop * BLOCK_BYTES])
    with pytest.raises(ValueError, match="block 50"):
        table.check(50, data[51 * BLOCK_BYTES : 52 * BLOCK_BYTES])


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES + 1])
def test_half_a_block_is_not_sealed(length):
    """Bytes that do not end where a block of the slab ends are refused."""
    with pytest.raises(ValueError, match="whole blocks"):
        Table(Place("k", 3, 3 * BLOCK_BYTES)).seal(1, bytes(length) if length else bytes(100))


@settings(deadline=None)
@given(st.data())
def test_no_change_to_a_slab_goes_unnoticed(data):
    """A flipped bit, a cut or something else altogether gives an error, never other bytes."""
    original = data.draw(st.binary(min_size=1, max_size=100))
    place = Place("key", 1, len(original))
    stored = bytearray(sealed(place, 0, original).pack() + original)
    damage = data.draw(st.sampled_from(["flip", "cut", "other"]))
    position = data.draw(st.integers(0, len(stored) - 1))
    if damage == "flip":
        stored[position] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "cut":
        del stored[position:]
    else:
        stored = bytearray(data.draw(st.binary(max_size=200)))

    with pytest.raises(ValueError, match=r"header|damaged|short"):
        found = Table.unpack(place, stored)
        kept = bytes(stored[place.data_start :])
        if len(kept) != len(original):
            raise ValueError("cut short")
        found.check(0, kept)


@pytest.mark.parametrize(
    "place",
    [Place("other", 1, 3), Place("key", 1, 4), Place("key", 2, 30_000)],
    ids=["other key", "other length", "other number of blocks"],
)
def test_slab_of_another_place_is_refused(place):
    """A sound slab under the wrong key or of the wrong size is not believed."""
    stored = sealed(Place("key", 1, 3), 0, b"abc").pack() + b"abc"

    with pytest.raises(ValueError, match="header"):
        Table.unpack(place, stored)


@given(st.sets(st.integers(0, 3 * SLAB_BLOCKS)))
def test_runs_of_blocks(indexes: set[int]):
    """They are the numbers, in order, as long as they can be without crossing a slab."""
    runs = list(block_runs(sorted(indexes)))

    assert [index for run in runs for index in run] == sorted(indexes)
    assert all(run.start // SLAB_BLOCKS == (run.stop - 1) // SLAB_BLOCKS for run in runs)
    assert all(a.stop < b.start or b.start % SLAB_BLOCKS == 0 for a, b in pairwise(runs))
