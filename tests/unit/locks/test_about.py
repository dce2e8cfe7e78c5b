"""What sessions and mounts say of their locks, and what is made of what others say."""

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from azfilesfs.client.requests import metadata_headers
from azfilesfs.model.limits import METADATA_BYTES
from azfilesfs.vfs.locks.about import (
    LIMIT_BYTES,
    METADATA_KEY,
    LockRow,
    LockSummary,
    SessionAbout,
    decode,
    encode,
    row_document,
    row_from,
)
from azfilesfs.vfs.locks.observer import LockObserver, NoLockObserver

# Names of processes and mountpoints may have bytes that are no UTF-8: half surrogates in a text.
characters = st.characters(exclude_categories=["Cs"]) | st.characters(
    min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]
)
texts = st.text(characters, max_size=20)
names = st.text(characters, max_size=5)
long_texts = st.builds(lambda text, times: text * times, st.text(min_size=1), st.integers(0, 900))
numbers = st.integers(0, (1 << 63) - 1)
modes = st.sampled_from(["shared", "exclusive"])
summaries = st.builds(LockSummary, texts, texts, texts, modes, numbers, names, numbers)
sessions = st.builds(
    SessionAbout, texts, texts, numbers, numbers, st.lists(summaries, max_size=5).map(tuple)
)
long_summaries = st.builds(
    LockSummary, long_texts, texts, texts, modes, numbers, long_texts, numbers
)
long_sessions = st.builds(
    SessionAbout,
    long_texts,
    long_texts,
    numbers,
    numbers,
    st.lists(long_summaries, max_size=12).map(tuple),
    st.integers(0, 10**6),
)
rows = st.builds(
    LockRow,
    texts,
    texts,
    texts,
    modes,
    numbers,
    st.none() | numbers,
    numbers,
    texts,
    numbers,
    st.booleans(),
    st.sampled_from(["held", "wanted", "local-only", "lost"]),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def size_of(metadata: dict[str, str]) -> int:
    """Return what the service counts."""
    return sum(len(name) + len(value) for name, value in metadata.items())


@given(sessions)
def test_what_fits_is_read_back(about: SessionAbout):
    """Whatever the characters are, and however the service spells the name of the metadata."""
    metadata = encode(about)

    assert decode(metadata) == about
    assert decode({METADATA_KEY.upper(): metadata[METADATA_KEY], "other": "x"}) == about


@given(long_sessions)
def test_it_never_exceeds_its_room(about: SessionAbout):
    """What is left out is counted, what stays is as it was and in its order; it can be sent."""
    metadata = encode(about)

    assert size_of(metadata) <= LIMIT_BYTES < METADATA_BYTES
    metadata_headers(metadata)
    assert not any(" " in value for value in metadata.values())
    read = decode(metadata)
    assert read is not None
    assert read.omitted + len(read.locks) == about.omitted + len(about.locks)
    wanted = iter(about.locks)
    for lock in read.locks:
        assert any(replace(one, process=one.process[: len(lock.process)]) == lock for one in wanted)


def test_a_long_path_does_not_keep_the_others_out():
    """Each lock that fits is said, also behind one that does not."""
    small = LockSummary("a", "1", "flock", "shared", 1, "cat", 5)
    huge = replace(small, path="ü" * 2000)
    read = decode(encode(SessionAbout("h", "/m", 1, 2, (small, huge, small))))

    assert read is not None
    assert (read.locks, read.omitted) == ((small, small), 1)


@given(st.dictionaries(st.just(METADATA_KEY) | st.text(), st.text()))
@example({METADATA_KEY: "[" * 60_000})
@example({METADATA_KEY: "[" * 70_000})
@example({METADATA_KEY: "9" * 9000})
@example({METADATA_KEY: '{"v":1,"host":"h","mountpoint":"m","pid":true,"started":1,"omitted":0}'})
def test_texts_of_anybody_do_no_harm(metadata: dict[str, str]):
    """What is no JSON of ours says nothing."""
    assert decode(metadata) is None


@given(st.data())
def test_damaged_fields_do_no_harm(data: st.DataObject):
    """With any field replaced it says nothing, or what is left of it that is right."""
    about = data.draw(sessions)
    document = json.loads(encode(about)[METADATA_KEY])
    name = data.draw(st.sampled_from(sorted(document)))
    document[name] = data.draw(anything)
    read = decode({METADATA_KEY: json.dumps(document)})

    if read is not None:
        wrong = {
            field
            for field in ("host", "mountpoint", "pid", "locks", "omitted")
            if getattr(read, field) != getattr(about, field)
        }
        # Locks that are not understood are counted.
        assert wrong <= ({"locks", "omitted"} if name == "locks" else {name})


@given(summaries, st.integers(0, 6), anything)
def test_a_damaged_lock_is_counted(lock: LockSummary, position: int, value: object):
    """One lock that cannot be understood leaves the others readable."""
    about = SessionAbout("h", "/m", 1, 2, (lock, lock))
    document = json.loads(encode(about)[METADATA_KEY])
    document["locks"][0][position] = value
    read = decode({METADATA_KEY: json.dumps(document)})

    assert read is not None
    assert read.locks[-1] == lock
    assert read.omitted + len(read.locks) == 2


@given(rows)
def test_rows_are_read_back(row: LockRow):
    """What goes over the control socket comes out as it was."""
    assert row_from(json.loads(json.dumps(row_document(row)))) == row


@given(rows, st.data())
def test_damaged_rows_are_refused(row: LockRow, data: st.DataObject):
    """A field of another kind makes no row."""
    document = row_document(row)
    name = data.draw(st.sampled_from(sorted(document)))
    document[name] = data.draw(st.sampled_from([[], {}, 1.5, -1]))

    assert row_from(document) is None


@pytest.mark.parametrize("value", [None, [], "row", {}, {"path": "a"}, {"more": 1}])
def test_what_is_no_row(value: object):
    """Nothing but a whole row is one."""
    assert row_from(value) is None


def test_nobody_need_listen():
    """A mount without metrics tells of its locks all the same."""
    observer: LockObserver = NoLockObserver()
    observer.waiters_changed(1)
    observer.waited(1.5, granted=True)
    observer.taken_over()
    observer.lost(2)
    observer.leases_changed(-1)
