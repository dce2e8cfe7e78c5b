"""Which blocks of a version are those of an earlier one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from azfilesfs.cache.ancestry import Ancestry, is_untouched
from azfilesfs.cache.blocks import BLOCK_BYTES, block_count, block_range
from azfilesfs.model.ranges import ByteRange
from tests.unit.cache.data import version


def sources(ancestry, validator, index):
    """Return the versions that have a block of this one: itself, then earlier ones."""
    block = block_range(index, validator.size)
    earlier = ancestry.ancestors(validator)
    return [validator, *(each.validator for each in earlier if is_untouched(each.changed, block))]


def test_untouched_blocks_have_the_old_version_as_source():
    """Only the blocks with a changed byte are new."""
    ancestry = Ancestry()
    old, new = version(1), version(2)
    ancestry.descend(old, new, [ByteRange(3 * BLOCK_BYTES + 5, 3 * BLOCK_BYTES + 6)])

    assert sources(ancestry, new, 2) == [new, old]
    assert sources(ancestry, new, 3) == [new]
    assert sources(ancestry, old, 2) == [old]


def test_the_first_version_is_remembered_longest():
    """After many uploads the version that holds most of the file is still found."""
    ancestry = Ancestry()
    for number in range(1, 50):
        ancestry.descend(version(number), version(number + 1), [ByteRange(0, 1)])

    assert sources(ancestry, version(50), 5) == [version(number) for number in (50, 49, 48, 47, 1)]


def test_the_table_is_bounded():
    """Files beyond the limit are forgotten, the oldest first."""
    ancestry = Ancestry()
    for file_id in range(5000):
        old, new = version(1, file_id=file_id), version(2, file_id=file_id)
        ancestry.descend(old, new, [])

    assert len(sources(ancestry, version(2, file_id=0), 0)) == 1
    assert len(sources(ancestry, version(2, file_id=4999), 0)) == 2


@st.composite
def histories(draw):
    """Draw a sequence of (size, written bytes) for a file of a few blocks."""
    sizes = st.integers(0, 4 * BLOCK_BYTES)
    changes = []
    size = draw(sizes)
    first = size
    for _ in range(draw(st.integers(1, 7))):
        size = draw(st.one_of(st.just(size), sizes))
        start = draw(st.integers(0, size))
        stop = draw(st.integers(start, size))
        changes.append((size, ByteRange(start, stop)))
    return first, changes


@settings(deadline=None)
@given(histories())
def test_sources_always_hold_the_same_bytes(history):
    """However a file is written, cut and grown: a block of a source has the block's very bytes."""
    size, changes = history
    ancestry = Ancestry()
    # Bytes are told apart by the number of the version that wrote them, 0 for a hole.
    current, validator = [(0, size, 1)], version(1, size)
    contents = {validator: render(current, size)}
    for number, (new_size, written) in enumerate(changes, start=2):
        current = [*cut(current, new_size), (*written, number)]
        new = version(number, new_size)
        contents[new] = render(current, new_size)
        ancestry.descend(validator, new, [written])
        validator = new
    for index in range(block_count(validator.size)):
        start, stop = block_range(index, validator.size)
        for source in sources(ancestry, validator, index):
            assert contents[source][start:stop] == contents[validator][start:stop]


def cut(writes, size):
    """Cut writes at a size."""
    return [(start, min(stop, size), mark) for start, stop, mark in writes if start < size]


def render(writes, size):
    """Return the bytes that writes of marks leave in a file."""
    data = bytearray(size)
    for start, stop, mark in writes:
        data[start:stop] = bytes([mark]) * (stop - start)
    return bytes(data)
