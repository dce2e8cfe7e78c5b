"""Locks between the processes of one mount: who gets what, in which order, what is left behind."""

import errno

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from azfilesfs.vfs.locks.local import PATIENCE_NS, LocalLocks, Stand, Ticket
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import Held, Kind, Owner, Span

NONE, SHARED, EXCLUSIVE = Mode


class Locks(LocalLocks):
    """Short forms."""

    now = 0

    def flock(self, handle: int, mode: Mode, *, wait: bool = False, pid: int = 0) -> Ticket:
        """flock(2) on file 1, each handle a process of its own unless said otherwise."""
        owner = Owner(Kind.FLOCK, handle)
        held = Held(owner, mode, Span(), handle, pid or 100 + handle)
        ticket = self.request(1, held, wait=wait, now_ns=self.now)
        self.serve(1, self.now)
        return ticket

    def fcntl(self, process: int, mode: Mode, inode: int = 1, **options) -> Ticket:
        """fcntl(2) by a process; ``span``, ``handle``, ``kind``, ``wait``."""
        owner = Owner(options.get("kind", Kind.POSIX), process)
        span = Span(*options.get("span", ()))
        held = Held(owner, mode, span, options.get("handle", process), process)
        wait = options.get("wait", False)
        ticket = self.request(inode, held, wait=wait, now_ns=self.now)
        self.serve(inode, self.now)
        return ticket


def test_readers_share_and_a_writer_is_alone():
    """Two shared locks stand side by side, an exclusive one does not."""
    locks = Locks()

    assert locks.flock(1, SHARED).stand is Stand.GRANTED
    assert locks.flock(2, SHARED).stand is Stand.GRANTED
    refused = locks.flock(3, EXCLUSIVE)

    assert (refused.stand, refused.errno) == (Stand.REFUSED, errno.EAGAIN)
    assert locks.needed(1) is SHARED


def test_flock_and_fcntl_do_not_see_each_other():
    """The two families have spaces of their own, as on a local filesystem."""
    locks = Locks()
    locks.flock(1, EXCLUSIVE)

    assert locks.fcntl(2, EXCLUSIVE).stand is Stand.GRANTED


def test_ofd_and_posix_locks_see_each_other():
    """fcntl's locks of processes and of open file descriptions are in conflict."""
    locks = Locks()
    locks.fcntl(1, EXCLUSIVE, kind=Kind.OFD, handle=7)

    assert locks.fcntl(2, SHARED).stand is Stand.REFUSED


def test_flock_upgrade_that_fails_loses_the_lock():
    """flock(2): a conversion first removes the lock that was there."""
    locks = Locks()
    locks.flock(1, SHARED)
    locks.flock(2, SHARED)

    assert locks.flock(1, EXCLUSIVE).stand is Stand.REFUSED

    assert [one.handle for one in locks.held(1)] == [2]


def test_two_flock_upgrades_do_not_wait_for_each_other():
    """Both drop the shared lock first, so one gets its turn, then the other."""
    locks = Locks()
    locks.flock(1, SHARED)
    locks.flock(2, SHARED)
    first = locks.flock(1, EXCLUSIVE, wait=True)
    second = locks.flock(2, EXCLUSIVE, wait=True)

    assert [one.stand for one in (first, second)] == [Stand.WAITING, Stand.GRANTED]
    locks.flock(2, NONE)
    assert first.stand is Stand.GRANTED


def test_flock_upgrade_without_others_keeps_the_lock():
    """Alone, a reader becomes the writer at once, also past a waiting one."""
    locks = Locks()
    locks.flock(1, SHARED)
    other = locks.flock(2, EXCLUSIVE, wait=True)

    assert locks.flock(1, EXCLUSIVE).stand is Stand.GRANTED
    assert other.stand is Stand.WAITING


def test_downgrade_lets_readers_in():
    """Who makes the lock shared keeps it, and the readers at the front of the queue come in."""
    locks = Locks()
    locks.flock(1, EXCLUSIVE)
    reader = locks.flock(2, SHARED, wait=True)

    assert locks.flock(1, SHARED).stand is Stand.GRANTED

    assert reader.stand is Stand.GRANTED


def test_readers_do_not_starve_a_writer():
    """With readers coming for ever, each before the last has gone, a writer gets its turn."""
    locks = Locks()
    locks.flock(1, SHARED)
    writer = locks.flock(1000, EXCLUSIVE, wait=True)
    for number in range(2, 50):
        locks.now += 1_000_000
        locks.flock(number, SHARED, wait=True)
        locks.flock(number - 1, NONE)
        if writer.stand is Stand.GRANTED:
            break

    assert writer.stand is Stand.GRANTED
    assert number == 2


def test_writers_do_not_starve_a_reader():
    """A reader gets its turn between writers that came before and after it."""
    locks = Locks()
    locks.flock(1, EXCLUSIVE)
    before = locks.flock(2, EXCLUSIVE, wait=True)
    reader = locks.flock(3, SHARED, wait=True)
    after = locks.flock(4, EXCLUSIVE, wait=True)
    locks.flock(1, NONE)

    assert [one.stand is Stand.GRANTED for one in (before, reader, after)] == [True, False, False]
    locks.flock(2, NONE)
    assert [one.stand is Stand.GRANTED for one in (reader, after)] == [True, False]


def test_a_process_is_not_kept_waiting_for_itself_by_the_order():
    """Who holds what the waiting writer waits for may take more of it."""
    locks = Locks()
    locks.flock(1, SHARED, pid=5)
    locks.flock(2, EXCLUSIVE, wait=True, pid=6)

    assert locks.flock(3, SHARED, wait=True, pid=5).stand is Stand.GRANTED


def test_the_order_gives_way_in_the_end():
    """A reader kept out by the order alone gets in after a while: others may wait for it."""
    locks = Locks()
    locks.flock(1, SHARED)
    writer = locks.flock(2, EXCLUSIVE, wait=True)
    reader = locks.flock(3, SHARED, wait=True)

    assert locks.tick(PATIENCE_NS - 1) == []
    assert locks.tick(PATIENCE_NS) == [reader]
    assert writer.stand is Stand.WAITING


def test_deadlock_over_two_files_is_seen():
    """The process that would close the circle gets EDEADLK, the other goes on."""
    locks = Locks()
    locks.fcntl(1, EXCLUSIVE, inode=1)
    locks.fcntl(2, EXCLUSIVE, inode=2)
    waiting = locks.fcntl(1, EXCLUSIVE, inode=2, wait=True)
    closing = locks.fcntl(2, EXCLUSIVE, inode=1, wait=True)

    assert (closing.stand, closing.errno) == (Stand.REFUSED, errno.EDEADLK)
    locks.fcntl(2, NONE, inode=2)
    assert waiting.stand is Stand.GRANTED


def test_two_upgrades_are_a_deadlock():
    """Two readers who want to write the same bytes: the second gets EDEADLK, keeps what it has."""
    locks = Locks()
    locks.fcntl(1, SHARED)
    locks.fcntl(2, SHARED)

    assert locks.fcntl(1, EXCLUSIVE, wait=True).stand is Stand.WAITING
    assert locks.fcntl(2, EXCLUSIVE, wait=True).errno == errno.EDEADLK
    assert {one.owner.key for one in locks.held(1)} == {1, 2}


def test_open_file_descriptions_have_no_deadlock_detection():
    """Who waits through one description says nothing about others who use it."""
    locks = Locks()
    for process, inode in ((1, 1), (2, 2)):
        locks.fcntl(process, EXCLUSIVE, inode=inode, kind=Kind.OFD)
    locks.fcntl(1, EXCLUSIVE, inode=2, kind=Kind.OFD, wait=True)

    assert locks.fcntl(2, EXCLUSIVE, inode=1, kind=Kind.OFD, wait=True).stand is Stand.WAITING


def test_a_cancelled_waiter_leaves_nothing():
    """Who stood behind it moves up, and nothing of it is granted later."""
    locks = Locks()
    locks.flock(1, SHARED)
    writer = locks.flock(2, EXCLUSIVE, wait=True)
    reader = locks.flock(3, SHARED, wait=True)

    assert locks.cancel(writer) == [reader]
    assert locks.cancel(writer) == []
    locks.flock(1, NONE)
    locks.flock(3, NONE)
    assert writer.stand is Stand.GONE
    assert locks.inodes() == ()


def test_close_drops_the_process_locks_only():
    """FLUSH takes the process's fcntl locks; flock and OFD locks stay until RELEASE."""
    locks = Locks()
    locks.fcntl(1, EXCLUSIVE, span=(0, 5), handle=7)
    locks.fcntl(70, EXCLUSIVE, span=(5, 9), handle=7, kind=Kind.OFD)
    locks.flock(7, EXCLUSIVE)

    locks.flush(1, 1, 0)
    assert {one.owner.kind for one in locks.held(1)} == {Kind.OFD, Kind.FLOCK}
    locks.release(1, 7, 0)
    assert locks.inodes() == ()


def test_release_ends_what_waits_through_the_handle():
    """A handle that is gone cannot be granted anything."""
    locks = Locks()
    locks.flock(1, EXCLUSIVE)
    ticket = locks.flock(2, EXCLUSIVE, wait=True)

    locks.release(1, 2, 0)

    assert ticket.stand is Stand.GONE
    assert locks.waiting(1) == ()


def test_an_undone_flock_is_no_lock():
    """What could not be had at the service is given to the next."""
    locks = Locks()
    first = locks.flock(1, EXCLUSIVE)
    second = locks.flock(2, EXCLUSIVE, wait=True)

    assert locks.undo(first, 0) == [second]
    assert locks.undo(first, 0) == []


def test_files_without_locks_are_not_known():
    """Questions about a file that nobody locked have empty answers."""
    locks = Locks()
    ask = Held(Owner(Kind.POSIX, 1), EXCLUSIVE, Span(), 1, 1)

    assert locks.holder(1, ask) is None
    assert locks.needed(1) is NONE
    assert (locks.held(1), locks.waiting(1)) == ((), ())
    assert locks.flush(1, 1, 0) == []
    assert locks.release(1, 1, 0) == []


class Flocks(RuleBasedStateMachine):
    """flock against its model: a dict from handle to mode, and a list of who waits."""

    handles = st.integers(1, 4)

    def __init__(self) -> None:
        super().__init__()
        self.locks = Locks()
        self.model: dict[int, Mode] = {}
        self.queue: list[tuple[int, Mode, Ticket]] = []

    def free(self, handle: int, mode: Mode) -> bool:
        """Tell whether no other handle's lock is in the way."""
        return not any(m.conflicts(mode) for h, m in self.model.items() if h != handle)

    def settle(self) -> None:
        """Serve the model's queue: in order, nobody past an earlier one that would be hindered."""
        moved = True
        while moved:
            moved = False
            for place, (handle, mode, _) in enumerate(self.queue):
                earlier = [
                    (h, m)
                    for h, m, _ in self.queue[:place]
                    if m.conflicts(mode) and h != handle and not self.blocks(handle, h, m)
                ]
                if self.free(handle, mode) and not earlier:
                    self.model[handle] = mode
                    del self.queue[place]
                    moved = True
                    break

    def blocks(self, handle: int, other: int, mode: Mode) -> bool:
        """Tell whether a handle's lock is what another waits for."""
        return handle != other and self.model.get(handle, NONE).conflicts(mode)

    @rule(handle=handles, mode=st.sampled_from([SHARED, EXCLUSIVE]), wait=st.booleans())
    def lock(self, handle: int, mode: Mode, wait: bool) -> None:
        """Lock or convert."""
        if any(h == handle for h, _, _ in self.queue):
            return
        ticket = self.locks.flock(handle, mode, wait=wait)
        hindered = any(
            m.conflicts(mode) and not self.blocks(handle, h, m) for h, m, _ in self.queue
        )
        if self.free(handle, mode) and not (wait and hindered):
            self.model[handle] = mode
            assert ticket.stand is Stand.GRANTED
        else:
            self.model.pop(handle, None)
            if wait:
                self.queue.append((handle, mode, ticket))
            else:
                assert ticket.stand is Stand.REFUSED
        self.settle()

    @rule(handle=handles)
    def unlock(self, handle: int) -> None:
        """Unlock."""
        if not any(h == handle for h, _, _ in self.queue):
            self.locks.flock(handle, NONE)
            self.model.pop(handle, None)
            self.settle()

    @rule(handle=handles)
    def interrupt(self, handle: int) -> None:
        """Interrupt a waiter."""
        for entry in [one for one in self.queue if one[0] == handle]:
            self.locks.cancel(entry[2])
            self.queue.remove(entry)
        self.settle()

    @rule(handle=handles)
    def close(self, handle: int) -> None:
        """Close the last descriptor."""
        self.locks.release(1, handle, 0)
        self.model.pop(handle, None)
        self.queue = [one for one in self.queue if one[0] != handle]
        self.settle()

    @invariant()
    def same(self) -> None:
        """Both say the same: who holds, who waits, what the service is needed for."""
        assert {one.handle: one.mode for one in self.locks.held(1)} == self.model
        assert [t.wish.handle for t in self.locks.waiting(1)] == [h for h, _, _ in self.queue]
        assert self.locks.needed(1) is max(self.model.values(), default=NONE)


Flocks.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestFlocks = Flocks.TestCase
