"""Names, the journal's records, and what the next mount makes of them."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.vfs.locks.journal import (
    Dropped,
    Ended,
    HeldLease,
    Record,
    Started,
    Taken,
    decode,
    encode,
    replay,
)
from azfilesfs.vfs.locks.names import (
    SESSIONS,
    Announcement,
    SessionFile,
    Tombstone,
    Window,
    lease_id,
)
from azfilesfs.vfs.locks.recovery import KEPT_CLEAN_NS, Recovered, Recovery, outdated
from azfilesfs.vfs.locks.requests import (
    Backoff,
    Entry,
    Failed,
    Listed,
    Refusal,
    Refused,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import SECOND_NS
from tests.unit.locks.service import File, Service, apply

S = uuid.UUID(int=77).hex
sessions = st.uuids().map(lambda one: one.hex)
numbers = st.integers(0, 10**6)
windows = st.builds(Window, numbers, numbers)


@given(st.builds(SessionFile, sessions, numbers, windows, st.integers(1, 900)))
def test_session_names_are_read_back(one: SessionFile):
    """What a session's name says is what was written."""
    assert SessionFile.parse(one.name) == one


@given(st.builds(Tombstone, sessions, windows, st.booleans()))
def test_tombstones_are_read_back(one: Tombstone):
    """What a tombstone says is what was written."""
    assert Tombstone.parse(one.name) == one


@given(st.builds(Announcement, numbers.map(str), sessions, numbers))
def test_announcements_are_read_back(one: Announcement):
    """What an announcement says is what was written."""
    assert Announcement.parse(one.name) == one


@pytest.mark.parametrize("name", ["", "x.0.0-1", f"{S}.0", f"{S}.0.0-1.6.7", f"{S}.a.0-1", "a.b.c"])
def test_other_names_are_not_ours(name: str):
    """A name that is not ours is passed over."""
    assert SessionFile.parse(name) is None
    assert Announcement.parse(name) is None
    assert Tombstone.parse(name) is None


def test_lease_ids_differ_in_every_part():
    """Another session, file or number is another id, and the id is a GUID."""
    other = uuid.UUID(int=78).hex
    ids = {lease_id(s, f, n) for s in (S, other) for f in ("1", "11") for n in (0, 1, 10)}

    assert len(ids) == 12
    assert all(str(uuid.UUID(one)) == one for one in ids)


texts = st.text(max_size=8)
records = st.one_of(
    st.builds(Started, sessions),
    st.builds(Ended, sessions),
    st.builds(Taken, sessions, texts, texts, numbers),
    st.builds(Dropped, sessions, texts, texts, numbers),
)


@given(st.lists(records), st.binary(max_size=20))
def test_records_are_read_back(written: list[Record], torn: bytes):
    """What was written is read, whatever half a line stands at the end."""
    data = b"".join(map(encode, written))

    assert decode(data)[: len(written)] == written
    assert len(decode(data + torn.replace(b"\n", b"").replace(b"\r", b""))) <= len(written) + 1


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b'{"kind":"taken"}', b'{"kind":"started","session":1}', b"\xff", b"7"]
)
def test_damage_is_passed_over(line: bytes):
    """A damaged line says nothing."""
    assert decode(line) == []


def test_replay_tells_what_is_left():
    """Leases that were taken and not dropped, of sessions that are not over."""
    told = replay(
        [
            Started("a"),
            Taken("a", "p", "1", 0),
            Taken("a", "q", "2", 0),
            Dropped("a", "p", "1", 0),
            Started("b"),
            Taken("b", "p", "1", 0),
            Ended("b"),
        ]
    )

    assert told == {"a": (HeldLease("q", "2", 0),)}


class Share:
    """A share that a session left behind, and a clock."""

    def __init__(self, *, session: bool = True) -> None:
        file = SessionFile(S, 3, Window(0, 1))
        left = {(SESSIONS, file.name, 0)} if session else set()
        self.now = SECOND_NS
        self.service = Service((File("p", "1", lease=lease_id(S, "1", 0)),), frozenset(left))

    def run(self, recovery: Recovery) -> Recovered:
        """Run a recovery."""
        recovery.begin()
        while isinstance(recovery.action, Request):
            self.service, answer = apply(self.service, recovery.action, self.now)
            recovery.answer(answer)
        return recovery.result


def test_recovery_releases_at_once_and_cleans_later():
    """The lease goes at once; the tombstone is marked clean when nothing can arrive any more."""
    share = Share()
    recovery = Recovery(S, (HeldLease("p", "1", 0),))

    assert share.run(recovery) is Recovered.LATER
    assert share.service.files[0].lease == ""
    share.now += 601 * SECOND_NS
    assert share.run(recovery) is Recovered.OVER
    assert {name for _, name, _ in share.service.names} == {f"{S}.0-1.clean"}
    assert share.run(recovery) is Recovered.OVER


def test_recovery_keeps_the_tombstone_of_a_lease_that_moved():
    """A file that is not where it was may still have the lease: the tombstone explains it."""
    share = Share()
    recovery = Recovery(S, (HeldLease("gone", "1", 0),))
    share.run(recovery)
    share.now += 601 * SECOND_NS

    assert share.run(recovery) is Recovered.OVER
    assert {name for _, name, _ in share.service.names} == {f"{S}.0-1"}


def test_recovery_of_a_session_that_never_was():
    """Without session file and tombstone there is nothing to do but to release."""
    assert Share(session=False).run(Recovery(S, (HeldLease("p", "1", 0),))) is Recovered.OVER


def test_recovery_repeats_and_fails():
    """What is not answered is asked again after a pause; a failure ends the run."""
    recovery = Recovery(S, ())
    recovery.begin()
    first = recovery.action
    recovery.answer(Unanswered())
    assert isinstance(recovery.action, Backoff)
    recovery.resume()
    assert recovery.action == first
    recovery.resume()
    recovery.answer(Failed(13))

    assert isinstance(recovery.action, Rest)
    assert recovery.result is Recovered.UNDONE
    assert recovery.failure == Failed(13)


def test_old_clean_tombstones_may_go():
    """Clean ones after a day, others never."""
    old = [Tombstone(S, Window(0, 1), clean).name for clean in (True, False)]
    listed = Listed(tuple(Entry(name, 0) for name in old), KEPT_CLEAN_NS + 1)

    assert outdated(listed) == (Tombstone(S, Window(0, 1), clean=True),)
    assert outdated(Listed(listed.entries, KEPT_CLEAN_NS)) == ()
    assert outdated(Refused(Refusal.MISSING)) == ()
