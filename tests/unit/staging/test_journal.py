"""The journal's records, and what is made of any bytes found in one."""

import json
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs import journal
from azfilesfs.vfs.journal import FileState, Kind, Origin, replay

ORIGIN = Origin("account/share", "host", 12, "boot", 99)
SIZES = st.integers(0, 2**42)
NAMES = st.text(min_size=1)  # lone surrogates too: names come from hostile places
EXTENTS = st.tuples(SIZES, SIZES).map(lambda ends: ByteRange(min(ends), max(ends)))
VALIDATORS = st.none() | st.builds(
    Validator, st.integers(0, 2**64 - 1), st.text(), SIZES, st.integers(0, 2**63)
)
PATHS = st.lists(NAMES, max_size=4).map(lambda names: SharePath(tuple(names)))


def fresh() -> FileState:
    """Return the state of a file just begun."""
    return FileState(ORIGIN, SharePath(("a", "b")), Validator(1, '"x"', 50, 3), 50, 50)


CHANGES = st.one_of(
    EXTENTS.map(lambda e: (journal.extent_record(Kind.WRITTEN, e), lambda s: s.written(e))),
    EXTENTS.map(lambda e: (journal.extent_record(Kind.UPLOADED, e), lambda s: s.uploaded(e))),
    SIZES.map(lambda n: (journal.truncated_record(n), lambda s: s.truncated(n))),
    st.just((journal.unlinked_record(), lambda s: setattr(s, "is_unlinked", True))),
    PATHS.map(lambda p: (journal.relocated_record(p), lambda s: setattr(s, "path", p))),
    st.tuples(VALIDATORS, SIZES).map(
        lambda b: (journal.rebased_record(*b), lambda s: s.rebased(*b))
    ),
)


@given(st.lists(CHANGES), st.data())
def test_a_journal_cut_anywhere_says_what_its_whole_records_say(changes, data):
    """At any length the replay is the state after the last whole record, and no damage is seen."""
    states: list[FileState | None] = [None]
    ends = [0]
    state = fresh()
    content = journal.header_record(state)
    for record, apply in [(b"", lambda _: None), *changes]:
        content += record
        apply(state)
        ends.append(len(content))
        states.append(replay(content).state)
        assert states[-1] == state
    cut = data.draw(st.integers(0, len(content)))

    found = replay(content[:cut])

    assert not found.damaged
    whole = max(index for index, end in enumerate(ends) if end <= cut)
    assert found.state == states[whole]


@given(st.lists(EXTENTS), PATHS, VALIDATORS, SIZES, SIZES)
def test_the_shortest_journal_rebuilds_the_state(extents, path, base, limit, size):
    """Compaction loses nothing."""
    state = FileState(ORIGIN, path, base, limit, size)
    for extent in extents:
        state.written(extent)
    state.is_unlinked = size % 2 == 1

    assert replay(b"".join(state.records())).state == state


@given(st.lists(CHANGES, min_size=1), st.data())
def test_a_changed_byte_is_noticed(changes, data):
    """One wrong byte ends the replay before the record it is in; later records are not trusted."""
    state = fresh()
    content = bytearray(journal.header_record(state) + b"".join(record for record, _ in changes))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))

    found = replay(bytes(content))

    prefix = replay(bytes(content[:place]))
    assert found.state == prefix.state
    assert not prefix.damaged


@given(st.binary())
def test_any_bytes_are_no_reason_to_fail(content):
    """Whatever stands in the file, the replay answers."""
    assert replay(content).state is None


def framed(kind: int, payload: bytes) -> bytes:
    """Frame a payload that the module would not write."""
    body = journal._FRAME.pack(kind, len(payload)) + payload
    return body + crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize(
    "record",
    [
        framed(0, b""),
        framed(77, b""),
        framed(Kind.WRITTEN, b"short"),
        framed(Kind.RELOCATED, b"{}"),
        framed(Kind.RELOCATED, b'{"path":"a/b"}'),
        framed(Kind.RELOCATED, b'{"path":[1]}'),
        framed(Kind.REBASED, b'{"base":[1,2],"base_limit":0}'),
        framed(Kind.REBASED, b'{"base":[1,2,3,4],"base_limit":0}'),
        framed(Kind.REBASED, b"not json"),
        framed(Kind.HEADER, b'{"format":2}'),
        framed(Kind.HEADER, b"[]"),
    ],
)
def test_a_whole_record_that_makes_no_sense_is_damage(record):
    """A right checksum over nonsense ends the replay, with the state so far."""
    state = fresh()

    found = replay(journal.header_record(state) + record + journal.truncated_record(3))

    assert found.damaged
    assert found.state == state


def test_records_before_a_header_are_damage():
    """A journal begins with its header."""
    found = replay(journal.truncated_record(3))

    assert (found.state, found.damaged) == (None, True)


def test_names_are_data():
    """A path in a journal is JSON, so a hostile name is only a text."""
    state = FileState(ORIGIN, SharePath(("..", "\0", "\ud800", "a\nb/c")), None, 0, 0)
    record = journal.header_record(state)

    assert record.isascii() or json.loads(record[5:-4])
    assert replay(record).state == state


def test_a_state_knows_what_is_unsent():
    """Clean means: on the service in this size, and never cut below it since."""
    state = fresh()
    assert not state.is_unsent
    state.dirty = ExtentMap([ByteRange(0, 1)])
    assert state.is_unsent
