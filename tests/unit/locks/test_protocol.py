"""The lock machine step by step: what it costs, what it does when it is refused or given up."""

import uuid

import pytest

from azfilesfs.vfs.locks import names
from azfilesfs.vfs.locks.filelock import FileLock
from azfilesfs.vfs.locks.machine import Phase, Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.requests import (
    Acquire,
    Answer,
    Backoff,
    Create,
    Delete,
    Done,
    Failed,
    Found,
    Head,
    List,
    Listed,
    NeedBeat,
    Refusal,
    Refused,
    Release,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import SECOND_NS, Life, Session, Timings
from tests.unit.locks.service import File, Service, apply

NOW = 5000 * SECOND_NS
CONFLICT = Refused(Refusal.CONFLICT)


class Harness:
    """Several mounts on one service, their requests counted."""

    def __init__(self, mounts: int = 1, **options) -> None:
        self.now = NOW
        self.service = Service((File("a", "7"),))
        self.sent: list[Request] = []
        self.sessions = [Session(uuid.UUID(int=i + 1), **options) for i in range(mounts)]
        self.locks = [FileLock(session, "a", "7", "7/0") for session in self.sessions]
        for session in self.sessions:
            self.beat(session)
        self.sent.clear()

    def send(self, request: Request) -> Answer:
        """Apply a request."""
        self.sent.append(request)
        self.service, answer = apply(self.service, request, self.now)
        return answer

    def beat(self, session: Session) -> None:
        """Send a heartbeat until it is settled."""
        request = session.beat(self.now)
        while request is not None:
            session.answer(self.send(request))
            request = session.beat(self.now) if session.pending else None

    def run(self, lock: FileLock, pauses: int = 3) -> Result | None:
        """Send what a machine wants until it rests or has paused that often."""
        while not isinstance(lock.action, Rest):
            if isinstance(lock.action, NeedBeat):
                self.beat(lock.session)
            if isinstance(lock.action, Request):
                lock.answer(self.send(lock.action), self.now)
            elif pauses:
                pauses -= 1
                lock.resume(self.now)
            else:
                return None
        return lock.result

    def take(self, lock: FileLock, mode: Mode, **options) -> Result | None:
        """Take a lock."""
        lock.lock(mode, self.now, **options)
        return self.run(lock)


def test_every_phase_has_its_handler():
    """Whatever is awaited, its answer is taken."""
    for phase in Phase:
        assert callable(getattr(FileLock, f"_on_{phase.name.lower()}"))


@pytest.mark.parametrize(
    ("mode", "changed", "cost"),
    [(Mode.EXCLUSIVE, False, 3), (Mode.EXCLUSIVE, True, 4), (Mode.SHARED, False, 3)],
)
def test_uncontended_cost(mode: Mode, changed: bool, cost: int):
    """Lock and unlock are three requests; four where the file changed since it was opened."""
    harness = Harness()
    lock = harness.locks[0]
    lock.etag = "7/-1" if changed else "7/0"

    assert harness.take(lock, mode) is Result.GRANTED
    assert lock.changed is changed
    assert lock.may_trust(harness.now)
    assert (lock.lease is not None) is (mode is Mode.EXCLUSIVE)
    lock.unlock(harness.now)
    assert harness.run(lock) is Result.RELEASED

    assert len(harness.sent) == cost
    assert harness.service.files[0].lease == ""
    assert lock.lease is None


def test_session_begins_with_the_first_lock():
    """Nothing is sent before; the first lock waits for the session to live."""
    session = Session(uuid.UUID(int=9))
    lock = FileLock(session, "a", "7")
    lock.lock(Mode.SHARED, NOW)

    assert isinstance(lock.action, NeedBeat)
    lock.resume(NOW)
    assert isinstance(lock.action, NeedBeat)
    assert session.beat(NOW) == Create(names.SESSIONS, f"{session.identity}.0.0-1")
    session.answer(Done())
    lock.resume(NOW)
    assert isinstance(lock.action, Create)


def test_session_that_cannot_be_made_fails_the_lock():
    """Where the directory is refused to us, the lock fails with the reason."""
    session = Session(uuid.UUID(int=9))
    lock = FileLock(session, "a", "7")
    lock.lock(Mode.EXCLUSIVE, NOW)
    session.beat(NOW)
    session.answer(Failed(13, "read-only SAS"))
    lock.resume(NOW)

    assert lock.result is Result.FAILED
    assert lock.failure == Failed(13, "read-only SAS")


def test_unanswered_start_takes_another_id():
    """A late Create must not make a second file of a live session."""
    session = Session(uuid.UUID(int=9))
    first = session.beat(NOW)
    session.answer(Unanswered())

    assert session.beat(NOW) != first


def test_trylock_does_not_wait():
    """Without waiting, a live holder or reader is WOULD_BLOCK, and nothing is left behind."""
    harness = Harness(2)
    holder, other = harness.locks
    harness.take(holder, Mode.EXCLUSIVE)
    for mode in (Mode.EXCLUSIVE, Mode.SHARED):
        assert harness.take(other, mode, wait=False) is Result.WOULD_BLOCK
    holder.unlock(harness.now)
    harness.run(holder)
    harness.take(holder, Mode.SHARED)

    assert harness.take(other, Mode.EXCLUSIVE, wait=False) is Result.WOULD_BLOCK
    assert harness.service.files[0].lease == ""


def test_dead_holder_is_taken_over():
    """After the time to live a trylock kills the session and takes the lease in one step."""
    harness = Harness(2)
    holder, other = harness.locks
    harness.take(holder, Mode.EXCLUSIVE)
    harness.now += 61 * SECOND_NS

    assert harness.take(other, Mode.EXCLUSIVE, wait=False) is Result.GRANTED
    assert not holder.may_trust(harness.now)
    harness.beat(holder.session)
    assert holder.session.life is Life.LOST
    holder.drop_lost(harness.now)
    assert holder.session.successor().identity != holder.session.identity


def test_a_shorter_time_to_live_is_written_in_the_name():
    """Each session is judged by its own time to live, not by the judge's."""
    harness = Harness(2, timings=Timings(6))
    harness.sessions[1].timings = Timings(60)
    harness.take(harness.locks[0], Mode.EXCLUSIVE)
    harness.now += 7 * SECOND_NS

    assert harness.take(harness.locks[1], Mode.EXCLUSIVE, wait=False) is Result.GRANTED


def test_dead_reader_is_dismissed():
    """Announcements of a dead session are removed, and do not hinder."""
    harness = Harness(2)
    reader, writer = harness.locks
    harness.take(reader, Mode.SHARED)
    harness.now += 61 * SECOND_NS

    assert harness.take(writer, Mode.EXCLUSIVE) is Result.GRANTED
    assert not [one for one in harness.service.names if one[0] == names.READERS]


def test_reader_frees_a_dead_writers_file():
    """A reader releases the lease of a dead session, then looks again."""
    harness = Harness(2)
    writer, reader = harness.locks
    harness.take(writer, Mode.EXCLUSIVE)
    harness.now += 61 * SECOND_NS

    assert harness.take(reader, Mode.SHARED) is Result.GRANTED


def test_cancelled_while_waiting_leaves_nothing():
    """A waiter that is interrupted gives back what it keeps: neither lease nor announcement."""
    harness = Harness(2)
    harness.take(harness.locks[0], Mode.SHARED)
    waiter = harness.locks[1]

    assert harness.take(waiter, Mode.EXCLUSIVE) is None
    assert isinstance(waiter.action, Backoff)
    waiter.cancel(harness.now)
    assert harness.run(waiter) is Result.CANCELLED
    assert waiter.session.used == frozenset()
    assert harness.service.files[0].lease == ""


def test_a_writer_keeps_new_readers_out_while_old_ones_leave():
    """After it has made way once, a waiting writer keeps the lease, and gets its turn."""
    harness = Harness(3)
    reader, writer, newcomer = harness.locks
    harness.take(reader, Mode.SHARED)
    assert harness.take(writer, Mode.EXCLUSIVE) is None
    assert writer.leased
    assert harness.take(newcomer, Mode.SHARED) is None
    reader.unlock(harness.now)
    harness.run(reader)
    assert harness.run(writer) is Result.GRANTED


def test_a_writer_keeps_the_lease_for_a_limited_time():
    """No longer than acquiring may take: then it begins anew."""
    harness = Harness(2)
    harness.take(harness.locks[0], Mode.SHARED)
    writer = harness.locks[1]
    assert harness.take(writer, Mode.EXCLUSIVE) is None
    began = writer.tentative_ns
    harness.now += writer.session.timings.tentative_ns
    harness.run(writer)
    assert writer.tentative_ns > began


@pytest.mark.parametrize("mode", [Mode.EXCLUSIVE, Mode.SHARED])
@pytest.mark.parametrize("step", range(2))
def test_cancelled_under_way_gives_back(mode: Mode, step: int):
    """Given up with a request under way, what that request took is given back."""
    harness = Harness()
    lock = harness.locks[0]
    lock.lock(mode, harness.now)
    for _ in range(step):
        assert isinstance(lock.action, Request)
        lock.answer(harness.send(lock.action), harness.now)
    lock.cancel(harness.now)
    result = harness.run(lock)

    if result is Result.GRANTED:
        assert step == 1
    else:
        assert result is Result.CANCELLED
        assert harness.service.files[0].lease == ""
        assert not [one for one in harness.service.names if one[0] == names.READERS]


def test_unlock_without_network_is_left_to_the_sweep():
    """An unlock that is given up leaves the lease to the sweep, which keeps on."""
    harness = Harness()
    lock = harness.locks[0]
    harness.take(lock, Mode.EXCLUSIVE)
    lock.unlock(harness.now)
    lock.answer(Unanswered(), harness.now)
    lock.cancel(harness.now)

    assert lock.result is Result.RELEASED
    (leftover,) = lock.session.sweep()
    request = lock.session.sweep_request(leftover)
    lock.session.swept(leftover, harness.send(request), harness.now)
    assert lock.session.sweep() == (leftover,)
    lock.session.swept(leftover, CONFLICT, leftover.until_ns)
    assert lock.session.sweep() == ()
    assert harness.take(lock, Mode.EXCLUSIVE) is Result.GRANTED
    assert lock.number == 1


def test_lease_on_a_moved_file_stays_listed():
    """A lease that moved with a directory is swept for ever: it still is under our name."""
    harness = Harness()
    lock = harness.locks[0]
    harness.take(lock, Mode.EXCLUSIVE)
    lock.unlock(harness.now)
    lock.answer(Refused(Refusal.MISSING), harness.now)
    (leftover,) = lock.session.sweep()
    lock.session.swept(leftover, Refused(Refusal.MISSING), leftover.until_ns)

    assert lock.session.sweep() == (leftover,)


def test_failure_gives_back_and_tells():
    """A refusal outside the protocol ends the operation, the lease given back."""
    harness = Harness()
    lock = harness.locks[0]
    lock.lock(Mode.EXCLUSIVE, harness.now)
    assert isinstance(lock.action, Acquire)
    lock.answer(harness.send(lock.action), harness.now)
    assert isinstance(lock.action, List)
    lock.answer(Failed(13, "no rights"), harness.now)

    assert isinstance(lock.action, Release)
    assert harness.run(lock) is Result.FAILED
    assert lock.failure == Failed(13, "no rights")
    assert harness.service.files[0].lease == ""


@pytest.mark.parametrize("mode", [Mode.EXCLUSIVE, Mode.SHARED])
def test_failure_of_the_unlock(mode: Mode):
    """An unlock that is refused for good ends too, and the sweep goes on."""
    harness = Harness()
    lock = harness.locks[0]
    harness.take(lock, mode)
    lock.unlock(harness.now)
    lock.answer(Failed(13), harness.now)

    assert lock.result is Result.FAILED
    assert lock.held is Mode.NONE
    assert len(lock.session.sweep()) == 1


@pytest.mark.parametrize("mode", [Mode.EXCLUSIVE, Mode.SHARED])
def test_path_that_names_nothing_is_stale(mode: Mode):
    """Where the file has gone, or another has its name, the lock is refused as stale."""
    for files in ((), (File("a", "8"),)):
        harness = Harness()
        harness.service = harness.service._replace(files=files)

        assert harness.take(harness.locks[0], mode) is Result.STALE
        assert not any(file.lease for file in harness.service.files)


def test_upgrade_and_downgrade():
    """In place: shared, exclusive, shared, with the announcement kept or made anew."""
    harness = Harness()
    lock = harness.locks[0]
    harness.take(lock, Mode.SHARED)
    lock.upgrade(harness.now)
    assert harness.run(lock) is Result.GRANTED
    assert (lock.held, lock.announced) == (Mode.EXCLUSIVE, False)
    lock.downgrade(harness.now)
    assert harness.run(lock) is Result.GRANTED
    assert (lock.held, lock.lease, lock.announced) == (Mode.SHARED, None, True)


@pytest.mark.parametrize(("wait", "result"), [(True, "DEADLOCK"), (False, "WOULD_BLOCK")])
def test_upgrade_beside_a_reader_keeps_the_shared_lock(wait: bool, result: str):
    """It never waits for another mount: that one may be upgrading too."""
    harness = Harness(2)
    for lock in harness.locks:
        harness.take(lock, Mode.SHARED)
    lock = harness.locks[0]
    lock.upgrade(harness.now, wait=wait)

    assert harness.run(lock) is Result[result]
    assert lock.may_trust(harness.now)
    assert harness.service.files[0].lease == ""


def test_downgrade_that_cannot_announce_stays_exclusive():
    """What is held is kept where the first step is refused."""
    harness = Harness()
    lock = harness.locks[0]
    harness.take(lock, Mode.EXCLUSIVE)
    lock.downgrade(harness.now)
    lock.answer(Failed(13), harness.now)

    assert lock.result is Result.FAILED
    assert lock.held is Mode.EXCLUSIVE
    assert lock.lease is not None


@pytest.mark.parametrize("answer", [Failed(5), Unanswered()])
def test_upgrade_whose_announcement_stays_is_granted(answer: Answer):
    """The announcement that could not be removed is left to the sweep."""
    harness = Harness()
    lock = harness.locks[0]
    harness.take(lock, Mode.SHARED)
    lock.upgrade(harness.now)
    while not isinstance(lock.action, Delete):
        assert isinstance(lock.action, Request)
        lock.answer(harness.send(lock.action), harness.now)
    lock.answer(answer, harness.now)

    assert lock.result is Result.GRANTED
    assert [one.announcement for one in lock.session.sweep()] == [True]


def test_slow_listing_begins_anew():
    """Who needs longer than half a time to live from acquiring to listing starts again."""
    harness = Harness()
    lock = harness.locks[0]
    lock.lock(Mode.EXCLUSIVE, harness.now)
    assert isinstance(lock.action, Acquire)
    lock.answer(harness.send(lock.action), harness.now)
    harness.now += 31 * SECOND_NS
    harness.beat(lock.session)
    lock.answer(Listed((), harness.now), harness.now)

    assert isinstance(lock.action, Release)
    assert harness.run(lock) is Result.GRANTED


def test_reader_with_an_old_timer_looks_again():
    """Where the timer ran out before the look's answer, the look is repeated after a heartbeat."""
    harness = Harness()
    lock = harness.locks[0]
    lock.lock(Mode.SHARED, harness.now)
    assert isinstance(lock.action, Create)
    lock.answer(harness.send(lock.action), harness.now)
    harness.now += 46 * SECOND_NS
    lock.answer(Found("7", "7/0", False), harness.now)

    assert isinstance(lock.action, NeedBeat)
    harness.beat(lock.session)
    lock.resume(harness.now)
    assert str(lock.action) == str(Head("a"))
    assert harness.run(lock) is Result.GRANTED


def test_misuse_is_refused():
    """Operations that make no sense, and answers to nothing, are errors of the caller."""
    lock = Harness().locks[0]
    for call in (
        lambda: lock.upgrade(NOW),
        lambda: lock.downgrade(NOW),
        lambda: lock.lock(Mode.NONE, NOW),
        lambda: lock.answer(Done(), NOW),
    ):
        with pytest.raises(RuntimeError):
            call()
    lock.lock(Mode.SHARED, NOW)
    with pytest.raises(RuntimeError):
        lock.unlock(NOW)


def test_end_of_a_session():
    """A clean end is marked so; one with doubts is not, and is repeated until it is answered."""
    harness = Harness(2)
    clean, doubtful = harness.sessions
    doubtful.doubt("a", "7", 0, NOW)
    for session, suffix in ((clean, ".clean"), (doubtful, "")):
        request = session.end()
        assert request is not None
        session.answer(Unanswered())
        assert session.end() == request
        session.answer(harness.send(request))
        assert session.life is Life.ENDED
        assert session.end() is None
        assert session.beat(NOW) is None
        assert any(n.endswith(f"0-1{suffix}") for d, n, _ in harness.service.names if d == "dead")
