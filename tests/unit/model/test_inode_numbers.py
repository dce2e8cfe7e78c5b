"""Inode numbers: one to one with file ids, and spread where the ids are not."""

from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model.inode_numbers import inode_number

IDS = st.integers(0, (1 << 64) - 1)


def undone(number: int) -> int:
    """Return the id that a number was made of, step by step backwards."""
    mask = (1 << 64) - 1
    value = number ^ number >> 31 ^ number >> 62
    value = value * pow(0x94D049BB133111EB, -1, 1 << 64) & mask
    value = value ^ value >> 27 ^ value >> 54
    value = value * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & mask
    return value ^ value >> 30 ^ value >> 60


@given(IDS)
def test_it_can_be_undone(file_id: int):
    """No two ids share a number, for each number leads back to its id."""
    number = inode_number(file_id)
    assert 0 <= number < 1 << 64
    assert undone(number) == file_id


def test_ids_as_the_service_counts_them_are_spread():
    """Consecutive ids differ in their high bits only; their numbers in the low ones as well."""
    ids = [(0xC000_0000_0000_0000 + (count << 46)) & (1 << 64) - 1 for count in range(1 << 14)]
    buckets = {inode_number(file_id) >> 6 & 0xFFFF for file_id in ids}
    assert len(buckets) > 10_000
