"""Zeros in large files: not sent where the service has them already, and sent where it has not."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.limits import MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.sending import ZERO_UNIT, is_zeros, to_send
from tests.unit.vfs.harness import expect, get, operations, put
from tests.unit.vfs.test_streams import CREATE, FAILS, pattern


@pytest.mark.semantics("S2.16")
async def test_zeros_of_a_new_file_are_not_sent(program, host, app):
    """A disk image full of zeros costs what is in it."""
    data = bytearray(20 * MIB)
    data[9 * MIB + 5 : 9 * MIB + 8] = b"abc"
    await program.write("a", bytes(data))
    counts = app.requests.counts()
    assert operations(app)["PutRange"] == 1
    assert counts["bytes"]["in"] == ZERO_UNIT
    assert await get(host, "a") == data
    assert await program.read("a") == data


@pytest.mark.semantics("S2.16")
async def test_zeros_over_old_bytes_arrive(program, host, app):
    """Whole ranges of zeros are cleared, and shorter ones sent: nothing old shows through."""
    await put(host, "a", pattern(9 * MIB))
    async with program.opened("a", os.O_WRONLY) as file:
        await file.write(bytes(5 * MIB), MIB)
    assert await get(host, "a") == pattern(MIB) + bytes(5 * MIB) + pattern(9 * MIB)[6 * MIB :]
    assert app.requests.counts()["bytes"]["in"] == 9 * MIB  # only what the test itself has put


async def test_zeros_after_bytes_that_were_sent_before(program, host):
    """What an earlier upload of the same file has written is old data like any other."""
    async with program.opened("a", CREATE) as file:
        await file.write(pattern(8 * MIB))
        await file.fsync()
        await file.write(bytes(3 * MIB), MIB)
        await file.fsync()
        await file.truncate(2 * MIB)
        await file.truncate(9 * MIB)
        await file.write(b"\0" * MIB, 7 * MIB)
    assert await get(host, "a") == pattern(MIB) + bytes(8 * MIB)


@FAILS
async def test_zeros_over_a_range_whose_answer_was_lost(mount, host, app):
    """A range that may have arrived is not taken for zeros."""
    async with mount() as program:
        file = await program.open("a", CREATE)
        await file.write(pattern(8 * MIB))
        app.faults.add(operation="PutRange", status=500, effect=True)
        with expect(5):
            await file.fsync()
        app.faults.clear()
        await file.write(bytes(8 * MIB))
        await file.close()
        assert await get(host, "a") == bytes(8 * MIB)


UNITS = st.lists(st.tuples(st.booleans(), st.integers(1, 3 * ZERO_UNIT)), min_size=1, max_size=8)


@given(UNITS, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4))
def test_what_is_left_out_is_zeros_on_both_sides(stretches, blanks):
    """Every byte that is not sent is zero here and blank there; the parts are in order."""
    data = b"".join((b"\0" if zero else b"\7") * length for zero, length in stretches)
    start = 2 * ZERO_UNIT
    piece = ByteRange(start, start + len(data))
    blank = ExtentMap(
        ByteRange(first * ZERO_UNIT, (first + count) * ZERO_UNIT) for first, count in blanks
    )
    parts = to_send(memoryview(data), piece, blank)
    assert parts == sorted(parts)
    assert all(part.start < part.stop for part in parts)
    for gap in ExtentMap(parts).gaps(piece):
        assert not any(data[gap.start - start : gap.stop - start])
        assert blank.covers(gap)


LARGE = st.lists(
    st.tuples(st.booleans(), st.integers(1, MIB // 2 + ZERO_UNIT)), min_size=1, max_size=6
)
ANYWHERE = st.integers(0, 3 * MIB)


@given(LARGE, st.lists(st.tuples(ANYWHERE, ANYWHERE), max_size=4), st.integers(0, ZERO_UNIT))
def test_all_long_stretches_of_zeros_are_left_out(stretches, blanks, start):
    """What is left out is what looking at one unit after the other finds, wherever it begins."""
    data = b"".join((b"\0" if zero else b"\7") * length for zero, length in stretches)
    piece = ByteRange(start, start + len(data))
    blank = ExtentMap(ByteRange(min(pair), max(pair)) for pair in blanks)
    zeros = ExtentMap(
        unit
        for window in blank.within(piece)
        for unit in window.split(ZERO_UNIT)
        if not any(data[unit.start - start : unit.stop - start])
    )
    expected = ExtentMap(zeros.gaps(piece))
    for gap in list(ExtentMap(expected).gaps(piece)):
        is_between = expected and gap.start > next(iter(expected)).start
        if is_between and gap.stop < list(expected)[-1].stop and gap.length < MIB // 4:
            expected.add(gap)
    assert to_send(memoryview(data), piece, blank) == list(expected)


@given(st.integers(0, 3 * ZERO_UNIT), st.integers(0, 3 * ZERO_UNIT))
def test_zeros_are_told_from_anything_else(length, position):
    """One byte is enough to be something."""
    data = bytearray(length)
    assert is_zeros(memoryview(data)) is (length > 0)
    if position < length:
        data[position] = 1
        assert not is_zeros(memoryview(data))
