"""How cached bytes are cut, named and sealed."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.cache.blocks import (
    BLOCK_BYTES,
    SLAB_BLOCKS,
    Lookup,
    SealedReader,
    Value,
    block_count,
    block_range,
    lookups,
)
from azfilesfs.model.versions import Validator
from tests.unit.cache.data import block, content, version


@settings(deadline=None)
@given(st.integers(0, 10 * BLOCK_BYTES))
def test_blocks_tile_the_file(size):
    """The blocks of a file follow each other without gap or overlap up to its end."""
    ranges = [block_range(index, size) for index in range(block_count(size))]

    assert [0, *(window.stop for window in ranges)] == [*(window.start for window in ranges), size]
    assert all(0 < window.length <= BLOCK_BYTES for window in ranges)
    assert block_range(block_count(size) + 3, size).length == 0


@settings(deadline=None)
@given(st.integers(1, 3 * SLAB_BLOCKS), st.integers(1, BLOCK_BYTES), st.data())
def test_lookups_name_each_place_once(blocks, last, data):
    """Two blocks of a file never share a place, and a slab is as long as its blocks."""
    size = (blocks - 1) * BLOCK_BYTES + last
    one, other = (data.draw(st.integers(0, blocks - 1)) for _ in range(2))
    places = {(place.key, place.position) for place in lookups(version(size=size), one)}
    others = {(place.key, place.position) for place in lookups(version(size=size), other)}

    assert places == others if one == other else not places & others
    for place in lookups(version(size=size), one):
        assert place.blocks == block_count(place.length)
        assert place.position < place.blocks


def test_keys_tell_versions_apart():
    """Each part of a validator changes the keys."""
    base = Validator(1, '"0x1"', 10, 5)
    others = [
        base._replace(file_id=2),
        base._replace(etag='"0x2"'),
        base._replace(size=11),
        base._replace(change_time_ns=6),
    ]

    assert len({lookups(each, 0)[0].key for each in [base, *others]}) == 5


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_small_value_comes_back(data):
    """What was sealed is read back, from a value of one block."""
    value = Value.seal("key", data)
    place = Lookup("key", 0, block_count(len(data)), len(data))
    reader = SealedReader(io.BytesIO(b"".join(value)), place)

    assert not data or reader.block(0) == data


def test_each_block_of_a_slab_comes_back():
    """Blocks are read from the middle of a value without the rest."""
    validator = version()
    place = lookups(validator, 3)[0]
    value = Value.seal(place.key, content(validator)[: place.length])
    reader = SealedReader(io.BytesIO(b"".join(value)), place)

    assert [reader.block(index) for index in (15, 0, 7)] == [
        block(validator, index) for index in (15, 0, 7)
    ]


@settings(deadline=None)
@given(st.data())
def test_no_change_to_a_value_goes_unnoticed(data):
    """A flipped bit, a cut or something else altogether gives an error, never other bytes."""
    original = data.draw(st.binary(min_size=1, max_size=100))
    sealed = bytearray(b"".join(Value.seal("key", original)))
    damage = data.draw(st.sampled_from(["flip", "cut", "other"]))
    position = data.draw(st.integers(0, len(sealed) - 1))
    if damage == "flip":
        sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "cut":
        del sealed[position:]
    else:
        sealed = bytearray(data.draw(st.binary(max_size=200)))

    with pytest.raises(ValueError, match=r"header|damaged"):
        SealedReader(io.BytesIO(bytes(sealed)), Lookup("key", 0, 1, len(original))).block(0)


@pytest.mark.parametrize(
    "place",
    [Lookup("other", 0, 1, 3), Lookup("key", 0, 1, 4), Lookup("key", 0, 2, 300_000)],
    ids=["other key", "other length", "other number of blocks"],
)
def test_value_of_another_place_is_refused(place):
    """A sound value under the wrong key or of the wrong size is not believed."""
    sealed = b"".join(Value.seal("key", b"abc"))

    with pytest.raises(ValueError, match="header"):
        SealedReader(io.BytesIO(sealed), place)
