"""The session of a mount: the proof that it is alive, and the lease numbers it may use.

The driver calls ``beat`` every quarter of the time to live (and when a lock needs it), sends what
it names, and gives the answer to ``answer``; while ``pending`` is set the heartbeat is not settled,
and ``beat`` names what is to be sent next. One heartbeat is under way at a time.
"""

from __future__ import annotations

import errno
import uuid
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from azfilesfs.vfs.locks.journal import Dropped, Ended, Record, Started, Taken
from azfilesfs.vfs.locks.names import (
    DEAD,
    DEFAULT_TTL_S,
    READERS,
    SESSIONS,
    Announcement,
    SessionFile,
    Window,
    lease_id,
    session_id,
)
from azfilesfs.vfs.locks.requests import (
    Answer,
    Create,
    Delete,
    Done,
    Failed,
    Found,
    Move,
    Probe,
    Refusal,
    Refused,
    Release,
    Request,
    Unanswered,
)

SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Timings:
    """The protocol's durations in seconds; only ``ttl_s`` is chosen, the rest follows from it."""

    ttl_s: int = DEFAULT_TTL_S

    @property
    def trust_ns(self) -> int:
        """How long a heartbeat is believed in after it was sent: the time to live less a margin."""
        return self.ttl_s * SECOND_NS * 3 // 4

    @property
    def beat_ns(self) -> int:
        """How often a heartbeat is sent."""
        return self.ttl_s * SECOND_NS // 4

    @property
    def tentative_ns(self) -> int:
        """How long acquiring and listing the readers may take together."""
        return self.ttl_s * SECOND_NS // 2

    @property
    def quarantine_ns(self) -> int:
        """How long a breaker of a foreign lease keeps its announcement up."""
        return self.ttl_s * SECOND_NS

    @property
    def sweep_ns(self) -> int:
        """How long a request that was not answered may still arrive."""
        return 600 * SECOND_NS


_FIRST_WINDOW: Final = Window(0, 1)


class Life(Enum):
    """Where a session stands."""

    UNBORN = auto()
    STARTING = auto()
    ALIVE = auto()
    ENDING = auto()
    LOST = auto()
    """Killed by another mount: every lock is gone. A successor takes its place."""
    ENDED = auto()
    """Ended by ourselves."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat that is not settled: its target never changes until it is."""

    target: SessionFile
    first_sent_ns: int
    sent_ns: int
    probing: bool = False


@dataclass(frozen=True, slots=True)
class Leftover:
    """A lease or an announcement that a late request may still bring back.

    Attributes:
        announcement: whether ``number`` is an announcement's; a lease's else.
        until_ns: boot time after which no request of that time can arrive any more.
    """

    announcement: bool
    path: str
    file_id: str
    number: int
    until_ns: int


@dataclass(slots=True)
class Session:
    """The state of one session; every field is an immutable value.

    Attributes:
        number: the lease number of the next lock; grows whenever one is in doubt.
        announced: the window that the session file is known to carry.
        renewed_ns: boot time at which the last heartbeat that is known to be applied was sent.
        used: (file id, number) of the leases that are held or being taken.
        leftovers: what is swept with each heartbeat.
        records: for the journal; on disk (fsync) before the request that came with them is sent.
    """

    seed: uuid.UUID
    timings: Timings = field(default_factory=Timings)
    incarnation: int = 0
    life: Life = Life.UNBORN
    generation: int = 0
    announced: Window = _FIRST_WINDOW
    renewed_ns: int = 0
    number: int = 0
    announcements: int = 0
    pending: Beat | None = None
    used: frozenset[tuple[str, int]] = frozenset()
    leftovers: frozenset[Leftover] = frozenset()
    records: tuple[Record, ...] = ()
    failure: Failed | None = None

    @property
    def identity(self) -> str:
        """The session's id."""
        return session_id(self.seed, self.incarnation)

    @property
    def file(self) -> SessionFile:
        """The session file as it is known to be."""
        return SessionFile(self.identity, self.generation, self.announced, self.timings.ttl_s)

    def is_valid(self, now_ns: int) -> bool:
        """Tell whether the locks may be believed in: nobody can have declared us dead yet."""
        return self.life is Life.ALIVE and now_ns - self.renewed_ns < self.timings.trust_ns

    def is_ready(self, number: int, now_ns: int) -> bool:
        """Tell whether a lease number may be used: it is public, and the session is valid."""
        return self.is_valid(now_ns) and number <= self.announced.high

    def successor(self) -> Session:
        """Return the session that takes this one's place after a loss."""
        return type(self)(self.seed, self.timings, self.incarnation + 1)

    # Heartbeat

    def beat(self, now_ns: int) -> Request | None:
        """Return the next request that keeps the session alive; None for one that is over."""
        if self.life in (Life.UNBORN, Life.STARTING):
            return self._start(now_ns)
        if self.life is not Life.ALIVE:
            return None
        if self.pending is None:
            target = replace(self.file, generation=self.generation + 1, window=self._window())
            self.pending = Beat(target, now_ns, now_ns)
        elif self.pending.probing:
            return Probe(SESSIONS, self.pending.target.name)
        else:
            self.pending = replace(self.pending, sent_ns=now_ns)
        return Move(SESSIONS, self.file.name, SESSIONS, self.pending.target.name)

    def answer(self, answer: Answer) -> None:
        """Take the answer to the last request of ``beat`` or ``end``."""
        if self.life is Life.STARTING:
            self._started(answer)
        elif self.life is Life.ENDING:
            self._ended(answer)
        elif self.pending is not None:
            self._answered(self.pending, answer)

    def _start(self, now_ns: int) -> Request:
        self.life = Life.STARTING
        self.failure = None
        self.renewed_ns = now_ns
        self.records += (Started(self.identity),)
        return Create(SESSIONS, self.file.name)

    def _started(self, answer: Answer) -> None:
        if isinstance(answer, Done):
            self.life = Life.ALIVE
            return
        # A late Create must not make a second file of a live session: this id is given up.
        self.records += (Ended(self.identity),)
        self.incarnation += 1
        self.life = Life.UNBORN
        self.failure = _failure(answer)

    def _answered(self, beat: Beat, answer: Answer) -> None:
        if isinstance(answer, Done):
            self._applied(beat, beat.sent_ns)
        elif isinstance(answer, Found):
            self._applied(beat, beat.first_sent_ns)
        elif isinstance(answer, Refused):
            if beat.probing:
                self.life, self.pending = Life.LOST, None
            else:
                self.pending = replace(beat, probing=True)

    def _applied(self, beat: Beat, sent_ns: int) -> None:
        self.generation = beat.target.generation
        self.announced = beat.target.window
        self.renewed_ns = sent_ns
        self.pending = None

    def _window(self) -> Window:
        old = {one.number for one in self.leftovers if not one.announcement}
        numbers = old | {number for _, number in self.used} | {self.number}
        return Window(min(numbers), self.number + 1)

    # End

    def end(self) -> Request | None:
        """Return the request that ends the session; None when it is over already.

        Only with every lock released and no heartbeat unsettled; the driver sweeps once before.
        """
        if self.life not in (Life.ALIVE, Life.ENDING):
            return None
        self.life = Life.ENDING
        tombstone = self.file.tombstone(clean=self._is_clean())
        return Move(SESSIONS, self.file.name, DEAD, tombstone.name)

    def _is_clean(self) -> bool:
        return not self.used and all(one.announcement for one in self.leftovers)

    def _ended(self, answer: Answer) -> None:
        if not isinstance(answer, Unanswered | Failed):
            self.life = Life.ENDED
            if self._is_clean():
                self.records += (Ended(self.identity),)

    # Numbers

    def take(self, path: str, file_id: str, number: int) -> None:
        """Note that a lease number is in use on a file from now on."""
        if (file_id, number) not in self.used:
            self.used |= {(file_id, number)}
            self.records += (Taken(self.identity, path, file_id, number),)

    def drop(self, path: str, file_id: str, number: int) -> None:
        """Note that the lease of this number is gone, and that every answer is in."""
        self.used -= {(file_id, number)}
        self.records += (Dropped(self.identity, path, file_id, number),)

    def doubt(self, path: str, file_id: str, number: int, now_ns: int) -> None:
        """Give a lease number up: a late request may bring its lease back at any time."""
        self.used -= {(file_id, number)}
        self._leave(Leftover(False, path, file_id, number, now_ns + self.timings.sweep_ns))
        self.number = max(self.number, number + 1)

    def doubt_announcement(self, path: str, file_id: str, number: int, now_ns: int) -> None:
        """Give an announcement's name up: a late request may bring it back."""
        self._leave(Leftover(True, path, file_id, number, now_ns + self.timings.sweep_ns))

    def new_announcement(self) -> int:
        """Return a number that this session never used in an announcement."""
        self.announcements += 1
        return self.announcements

    def is_announcement_doubtful(self, file_id: str, number: int) -> bool:
        """Tell whether an announcement's name was given up, so that the sweep removes it."""
        return any(
            one.announcement and (one.file_id, one.number) == (file_id, number)
            for one in self.leftovers
        )

    def old_numbers(self, file_id: str) -> tuple[int, ...]:
        """Return the numbers given up whose leases may still appear on a file."""
        old = (o.number for o in self.leftovers if not o.announcement and o.file_id == file_id)
        return tuple(sorted(set(old)))

    def _leave(self, leftover: Leftover) -> None:
        same = replace(leftover, until_ns=0)
        self.leftovers = frozenset(
            one for one in self.leftovers if replace(one, until_ns=0) != same
        ) | {leftover}

    # Sweep

    def sweep(self) -> tuple[Leftover, ...]:
        """Return what to remove again; the driver does so with each heartbeat."""
        return tuple(sorted(self.leftovers, key=lambda one: (one.until_ns, one.number)))

    def sweep_request(self, one: Leftover) -> Request:
        """Return the request that removes a leftover."""
        if one.announcement:
            name = Announcement(one.file_id, self.identity, one.number).name
            return Delete(READERS, name)
        return Release(one.path, lease_id(self.identity, one.file_id, one.number))

    def swept(self, one: Leftover, answer: Answer, sent_ns: int) -> None:
        """Take the answer to a ``sweep_request`` that was sent at ``sent_ns``.

        A leftover goes when an answer came to a request sent after its time. A path that is gone
        keeps a lease listed: it moved with a directory, and still is under our name.
        """
        gone = answer == Refused(Refusal.MISSING) and not one.announcement
        if isinstance(answer, Done | Refused) and not gone and sent_ns >= one.until_ns:
            self.leftovers -= {one}
            if not one.announcement:
                self.records += (Dropped(self.identity, one.path, one.file_id, one.number),)


def _failure(answer: Answer) -> Failed | None:
    if isinstance(answer, Failed):
        return answer
    if isinstance(answer, Refused):
        return Failed(errno.EIO, f"the session file could not be made: {answer.why.name}")
    return None
