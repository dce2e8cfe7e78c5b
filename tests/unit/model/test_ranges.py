"""Byte ranges as HTTP writes them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model.ranges import ByteRange, parse_content_range, parse_range

OFFSETS = st.integers(0, 2**42)


@given(OFFSETS, st.integers(1, 2**42))
def test_round_trip(start, length):
    """A range that was written is read as it was."""
    given_range = ByteRange(start, start + length)

    assert parse_range(given_range.format(), 0) == given_range
    assert given_range.length == length


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 999))
def test_splitting(start, length, unit):
    """The pieces of a range follow each other, cover it, and end at multiples of the unit."""
    whole = ByteRange(start, start + length)

    pieces = list(whole.split(unit))

    assert sum(piece.length for piece in pieces) == length
    assert all(0 < piece.length <= unit for piece in pieces)
    assert all(one.stop == two.start for one, two in pairwise(pieces))
    assert all(piece.stop % unit == 0 for piece in pieces[:-1])
    if pieces:
        assert (pieces[0].start, pieces[-1].stop) == whole


def test_open_ends():
    """An open end is the end of the file; one that begins behind it is empty."""
    assert parse_range("bytes=5-", 9) == ByteRange(5, 9)
    assert parse_range("bytes=9-", 9) == ByteRange(9, 9)
    assert parse_range("bytes=20-", 9) == ByteRange(20, 20)


@pytest.mark.parametrize(
    "text", ["", "bytes=", "bytes=-5", "bytes=5-4", "bytes=1-2,3-4", "1-2", "bytes=a-b"]
)
def test_what_is_no_range(text):
    """Suffixes, lists and reversed ranges are refused."""
    with pytest.raises(ValueError, match="range"):
        parse_range(text, 100)


@given(OFFSETS, st.integers(1, 2**20), OFFSETS)
def test_content_range(start, length, rest):
    """A Content-Range says the range and the size."""
    stop = start + length

    assert parse_content_range(f"bytes {start}-{stop - 1}/{stop + rest}") == (
        ByteRange(start, stop),
        stop + rest,
    )


@pytest.mark.parametrize(
    "text", ["", "bytes */5", "bytes 0-5/5", "bytes 3-2/5", "bytes 0-1/*", "0-1/5"]
)
def test_what_is_no_content_range(text):
    """A range outside its file is refused."""
    with pytest.raises(ValueError, match="Content-Range"):
        parse_content_range(text)
