"""Entries of listings: packed, and nothing is lost by it."""

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import fold, name_key
from azfilesfs.model.properties import (
    NEW_CONTENT,
    UNKNOWN_SIZE,
    EntryKind,
    ListedEntry,
    Properties,
)

TIMES = st.none() | st.integers(-(1 << 64), 1 << 64)
SHOWN = st.builds(
    Properties,
    kind=st.sampled_from(EntryKind),
    size=st.integers(UNKNOWN_SIZE, 1 << 65),
    etag=st.none() | st.text(max_size=9) | st.integers(0, 1 << 65).map(lambda n: f'"0x{n:X}"'),
    file_id=st.none() | st.integers(0, 1 << 65),
    creation_time_ns=TIMES,
    last_write_time_ns=TIMES,
    change_time_ns=TIMES,
    last_modified_ns=TIMES,
    attributes=st.none() | st.integers(0, 0x2_FFFF).map(FileAttributes),
    permission_key=st.none() | st.just("1*2"),
)


@given(st.text(), SHOWN)
def test_nothing_is_lost(name, properties):
    """Whatever a listing says comes out as it went in."""
    entry = ListedEntry(name, properties)
    basics = entry.basics()

    assert (entry.name, entry.properties) == (name, properties)
    assert (entry.kind, entry.file_id) == (properties.kind, properties.file_id)
    assert basics == (
        properties.is_directory,
        properties.size,
        properties.file_id,
        properties.last_write_time_ns,
        properties.change_time_ns,
        properties.last_modified_ns,
    )


@pytest.mark.parametrize(
    "more", [{"content": NEW_CONTENT}, {"parent_id": 5}, {"metadata": {"a": "b"}}]
)
def test_what_no_listing_says_is_kept_too(more):
    """An entry of our own making may know more."""
    known = replace(Properties(kind=EntryKind.FILE, size=1), **more)

    assert ListedEntry("a", known).properties == known
    assert ListedEntry("a", known).basics().size == 1


def test_entries_compare_by_what_they_say():
    """Equal names and properties are equal entries."""
    one = ListedEntry("a", Properties(kind=EntryKind.FILE, size=1))

    assert one == ListedEntry("a", Properties(kind=EntryKind.FILE, size=1))
    assert one != ListedEntry("a", Properties(kind=EntryKind.FILE, size=2))
    assert one != ListedEntry("b", Properties(kind=EntryKind.FILE, size=1))
    assert one != "a"
    assert len({one, ListedEntry("a", one.properties)}) == 1
    assert repr(one).startswith("ListedEntry('a'")


@given(st.text(max_size=3), st.text(max_size=3))
def test_keys_are_equal_for_the_same_names(one, two):
    """The key of a table tells names apart just as the service does."""
    assert (name_key(one) == name_key(two)) is (fold(one) == fold(two))
    assert name_key(one.upper()) == name_key(one.lower()) or not one.isascii()


def test_a_plain_name_is_its_own_key():
    """No second copy is made of the names that most files have."""
    name = "setup.cfg"

    assert name_key(name) is name


def test_the_memory_of_many():
    """An entry takes less than 250 bytes, its name of 20 characters included."""
    count = 5_000
    tracemalloc.start()
    try:
        entries = [
            ListedEntry(
                f"a file of a listing {number}",
                Properties(
                    kind=EntryKind.FILE,
                    size=1_000_000 + number,
                    etag=f'"0x8D{number:013X}"',
                    file_id=13_835_128_424_026_341_376 + number,
                    creation_time_ns=1_700_000_000_000_000_000 + number * 100,
                    last_write_time_ns=1_700_000_001_000_000_000 + number * 100,
                    change_time_ns=1_700_000_002_000_000_000 + number * 100,
                    last_modified_ns=1_700_000_003_000_000_000,
                    attributes=FileAttributes.ARCHIVE,
                ),
            )
            for number in range(count)
        ]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # The cache of properties that were asked for holds a thousand whole ones.
    assert len(entries) == count
    assert used - 1024 * 1000 < 250 * count
