"""Mounts, files and the service in simulated time: random faults, every answer late by its own.

Where the search holds time still, here all durations are real: heartbeats, time to live, sweeps,
quarantines, clocks that do not run at the same rate. Each program adds one to a counter under its
lock, again and again.
"""

import heapq
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from azfilesfs.vfs.locks.filelock import FileLock
from azfilesfs.vfs.locks.machine import Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.requests import (
    Answer,
    Backoff,
    Done,
    Head,
    NeedBeat,
    Quarantine,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import SECOND_NS, Life, Session
from tests.unit.locks.service import File, Service, Write, apply

TIMEOUT_NS = 10 * SECOND_NS
SLOWEST_NS = 300 * SECOND_NS


@dataclass(frozen=True)
class Faults:
    """How likely each fault is, for one request or one round."""

    lost: float = 0.04
    delayed: float = 0.04
    pause: float = 0.03
    crash: float = 0.01


@dataclass
class Program:
    """One program of one mount on one file: lock, add one, unlock."""

    mount: "SimMount"
    lock: FileLock
    rounds: int
    epoch: int = 0
    seen: int = 0
    acknowledged: int = 0
    busy: bool = False

    def step(self) -> None:
        """Do what the machine says."""
        sim, action = self.mount.sim, self.lock.action
        if self.mount.crashed or self.busy:
            return
        if isinstance(action, Rest):
            self.rested()
        elif isinstance(action, Backoff):
            self.later(sim.random.uniform(0.1, 2.0), self.resume)
        elif isinstance(action, Quarantine):
            wait_ns = max(0, action.until_ns - self.mount.boot())
            self.later(wait_ns / SECOND_NS * 1.02 + 0.01, self.resume)
        elif isinstance(action, NeedBeat):
            self.mount.heartbeat()
            self.later(0.5, self.resume)
        else:
            self.send(action, self.answered)

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        """Go on after a while."""
        self.busy = True
        self.mount.sim.after(int(seconds * SECOND_NS), self.mount, lambda: self.go(then))

    def go(self, then: Callable[[], None]) -> None:
        """Go on now."""
        self.busy = False
        then()

    def send(self, request: Request | Write, then: Callable[[Answer], None]) -> None:
        """Send a request; its answer, or the lack of one, comes later."""
        self.busy = True
        self.mount.sim.send(self.mount, request, lambda answer: self.go(lambda: then(answer)))

    def resume(self) -> None:
        """End a pause."""
        if isinstance(self.lock.action, Backoff | Quarantine | NeedBeat):
            self.lock.resume(self.mount.boot())
        self.step()

    def answered(self, answer: Answer) -> None:
        """Give the machine its answer."""
        self.lock.answer(answer, self.mount.boot())
        self.step()

    def rested(self) -> None:
        """Begin something, or use what was granted."""
        lock, random_ = self.lock, self.mount.sim.random
        if lock.session.life is Life.LOST:
            lock.drop_lost(self.mount.boot())
            lock.session = self.mount.session
        if lock.held is Mode.NONE:
            if lock.result in (Result.GRANTED, Result.RELEASED):
                self.rounds -= 1
                self.mount.sim.progress += 1
            if self.rounds <= 0:
                return
            mode = random_.choice([Mode.SHARED, Mode.EXCLUSIVE])
            lock.lock(mode, self.mount.boot(), wait=random_.random() < 0.7)
            if isinstance(lock.action, Rest):
                self.later(1, self.step)
            else:
                self.step()
        elif lock.held is Mode.SHARED and random_.random() < 0.3:
            lock.upgrade(self.mount.boot(), wait=random_.random() < 0.5)
            self.step()
        elif lock.held is Mode.EXCLUSIVE and lock.result is Result.GRANTED:
            self.epoch += 1
            self.send(Head(lock.path, lock.lease), self.read)
        else:
            self.later(random_.uniform(0, 3), self.unlock)

    def read(self, answer: Answer) -> None:
        """Take the counter that the service had at the moment of the answer."""
        if isinstance(answer, Unanswered):
            self.send(Head(self.lock.path, self.lock.lease), self.read)
        elif not hasattr(answer, "etag") or self.lock.session.life is Life.LOST:
            self.lose()
        else:
            self.seen = int(str(answer.etag).split("/")[1])
            self.write()

    def write(self) -> None:
        """Send the counter's next value, until it is answered."""
        sim = self.mount.sim
        request = Write(self.lock.path, self.lock.lease, self.mount.number, self.epoch)
        sim.values[request] = self.seen
        self.send(request, self.written)

    def written(self, answer: Answer) -> None:
        """Unlock after an answer; a refusal means that the lock is lost."""
        if isinstance(answer, Unanswered):
            self.lock.taint()
            if self.lock.lease is None:
                self.lose()
            else:
                self.write()
        elif isinstance(answer, Done):
            self.acknowledged += 1
            self.later(self.mount.sim.random.uniform(0, 3), self.unlock)
        else:
            self.lose()

    def lose(self) -> None:
        """Tell the machine that the lease is gone."""
        self.lock.drop_lost(self.mount.boot())
        self.lock.result = None
        self.step()

    def unlock(self) -> None:
        """Give the lock back, or make it shared first."""
        if self.lock.held is Mode.NONE or self.lock.session.life is Life.LOST:
            self.lose()
            return
        if self.lock.held is Mode.EXCLUSIVE and self.mount.sim.random.random() < 0.2:
            self.lock.downgrade(self.mount.boot())
        else:
            self.lock.unlock(self.mount.boot())
        self.step()


@dataclass
class SimMount:
    """One mount: a session, its programs, and its own clock."""

    sim: "Simulation"
    number: int
    rate: float
    offset: int
    session: Session
    programs: list[Program] = field(default_factory=list)
    crashed: bool = False
    paused_until: int = 0
    beating: bool = False

    def boot(self) -> int:
        """Return the time of the mount's boot clock."""
        return self.offset + int(self.sim.now * self.rate)

    def heartbeat(self) -> None:
        """Send the heartbeat, unless one is under way."""
        if self.beating or self.crashed:
            return
        request = self.session.beat(self.boot())
        if request is not None:
            self.beating = True
            self.sim.send(self, request, self.beaten)

    def beaten(self, answer: Answer) -> None:
        """Settle a heartbeat; sweep; begin anew where the session was killed."""
        self.beating = False
        self.session.answer(answer)
        if self.session.life is Life.LOST:
            self.session = self.session.successor()
            self.heartbeat()
        elif self.session.pending is not None or self.session.life is Life.UNBORN:
            self.heartbeat()
        else:
            self.sweep()

    def sweep(self) -> None:
        """Remove what late requests may have brought back."""
        session, sent = self.session, self.boot()
        for one in session.sweep():
            request = session.sweep_request(one)
            self.sim.send(self, request, partial(session.swept, one, sent_ns=sent))

    def tick(self) -> None:
        """Beat regularly."""
        self.heartbeat()
        self.sim.after(self.session.timings.beat_ns, self, self.tick)


class Simulation:
    """Runs mounts against the service in simulated time."""

    def __init__(self, seed: int, mounts: int, files: int, faults: Faults, rounds: int) -> None:
        """Prepare; the same seed gives the same run."""
        self.random = random.Random(seed)
        self.faults = faults
        self.now = 1_000_000 * SECOND_NS
        self.events: list[tuple[int, int, SimMount | None, Callable[[], None]]] = []
        self.order = 0
        self.progress = 0
        self.values: dict[Write, int] = {}
        self.writer: dict[str, tuple[int, int]] = {}
        names = [f"file{number}" for number in range(files)]
        self.service = Service(tuple(File(name, str(i + 1)) for i, name in enumerate(names)))
        self.mounts = [self._mount(number, names, rounds) for number in range(mounts)]

    def _mount(self, number: int, names: list[str], rounds: int) -> SimMount:
        session = Session(uuid.UUID(int=self.random.getrandbits(128)))
        rate = self.random.uniform(0.98, 1.02)
        mount = SimMount(self, number, rate, self.random.randrange(10**15), session)
        for i, name in enumerate(names):
            program = Program(mount, FileLock(session, name, str(i + 1)), rounds)
            mount.programs.append(program)
            self.after(self.random.randrange(SECOND_NS), mount, program.step)
        self.after(0, mount, mount.tick)
        return mount

    def after(self, delay_ns: int, mount: SimMount | None, then: Callable[[], None]) -> None:
        """Do something later; a mount that is paused by then does it when it goes on."""
        self.order += 1
        heapq.heappush(self.events, (self.now + delay_ns, self.order, mount, then))

    def send(
        self, mount: SimMount, request: Request | Write, then: Callable[[Answer], None]
    ) -> None:
        """Let a request reach the service, and its answer the mount, each after a while."""
        chance = self.random.random()
        there = self.random.randrange(SECOND_NS // 2)
        if chance < self.faults.delayed:
            there = self.random.randrange(SLOWEST_NS)
            self.after(there, None, lambda: self.apply(request))
            self.after(TIMEOUT_NS, mount, lambda: then(Unanswered()))
        elif chance < self.faults.delayed + self.faults.lost:
            self.after(there, None, lambda: self.apply(request))
            self.after(TIMEOUT_NS, mount, lambda: then(Unanswered()))
        else:
            self.after(there, None, lambda: self.reply(mount, request, then))

    def reply(
        self, mount: SimMount, request: Request | Write, then: Callable[[Answer], None]
    ) -> None:
        """Apply a request and send the answer back."""
        answer = self.arrive(request)
        self.after(self.random.randrange(SECOND_NS // 2), mount, lambda: then(answer))

    def apply(self, request: Request | Write) -> None:
        """Apply a request whose answer nobody gets."""
        self.arrive(request)

    def arrive(self, request: Request | Write) -> Answer:
        """Apply a request at the service; a write must follow on what its writer read."""
        self.service, answer = apply.__wrapped__(self.service, request, self.now)
        if isinstance(request, Write) and isinstance(answer, Done):
            file = self.service.file(request.path)
            assert file is not None
            who = (request.mount, request.epoch)
            if self.writer.get(request.path) != who:
                assert file.version == self.values[request], "a lost update"
                self.writer[request.path] = who
                self.service = self.service.put(file._replace(version=file.version + 1))
        return answer

    def run(self, seconds: int) -> None:
        """Run for a while of simulated time, checking the locks after each event."""
        end = self.now + seconds * SECOND_NS
        while self.events and self.events[0][0] <= end:
            self.now, order, mount, then = heapq.heappop(self.events)
            if mount is not None and mount.crashed:
                continue
            if mount is not None and self.now < mount.paused_until:
                heapq.heappush(self.events, (mount.paused_until, order, mount, then))
                continue
            then()
            if mount is not None:
                self.hurt(mount)
            self.check()

    def hurt(self, mount: SimMount) -> None:
        """Let a fault happen to a mount, now and then."""
        if self.random.random() < self.faults.pause / 20:
            seconds = self.random.choice([5, 20, 40, 50, 58, 62, 70, 150])
            mount.paused_until = self.now + seconds * SECOND_NS
        alive = sum(not one.crashed for one in self.mounts)
        if alive > 1 and self.random.random() < self.faults.crash / 20:
            mount.crashed = True

    def check(self) -> None:
        """Exclusive locks that are believed in stand alone."""
        for place in range(len(self.service.files)):
            held = [
                mount.programs[place].lock.held
                for mount in self.mounts
                if not mount.crashed and mount.programs[place].lock.may_trust(mount.boot())
            ]
            assert Mode.EXCLUSIVE not in held or len(held) == 1, held

    def calm(self) -> None:
        """Let no more faults happen."""
        self.faults = Faults(0, 0, 0, 0)
