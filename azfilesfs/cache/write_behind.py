"""One thread that writes blocks to disk. Nobody waits for it, except a clean shutdown.

Blocks wait by slab. A large slab that is complete goes at once, others a little later, so that what
random reads and small files bring is written in bulk: one transaction for all that has gathered.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from azfilesfs.cache.blocks import Buffer, place_of
from azfilesfs.model.limits import MIB
from azfilesfs.model.versions import Validator

QUEUE_BYTES: Final = 32 * MIB
"""How many bytes may wait for the disk; what does not fit is dropped."""

_BATCH_BYTES: Final = 8 * MIB
_LARGE_BYTES: Final = MIB
_LINGER_SECONDS: Final = 0.5


class Waiting:
    """Blocks of one slab that wait for the disk.

    Attributes:
        pieces: consecutive blocks as the number of the first inside the slab and their bytes.
        length: number of bytes in them.
        since: when the first of them came.
    """

    __slots__ = ("length", "pieces", "since", "slab", "validator")

    def __init__(self, validator: Validator, slab: int, since: float) -> None:
        self.validator = validator
        self.slab = slab
        self.pieces: list[tuple[int, Buffer]] = []
        self.length = 0
        self.since = since

    def add(self, first: int, data: Buffer) -> None:
        """Have some more blocks wait."""
        self.pieces.append((first, data))
        self.length += len(data)

    @property
    def is_complete(self) -> bool:
        """Whether it is large and there is nothing more to wait for."""
        return _is_large_and_whole(self.validator, self.slab, self.length)


class Sink(Protocol):
    """Where blocks go; see ``DiskStore``. None of its methods raises."""

    def sweep(self) -> None:
        """Put things in order before the first write."""
        ...

    def write(self, batch: Sequence[Waiting]) -> None:
        """Store some blocks."""
        ...

    def stop(self) -> None:
        """Have ``sweep`` end soon; called from another thread."""
        ...


class WriteBehind:
    """A bounded queue in front of a store, with a thread of its own.

    ``put`` is for one thread, the event loop's, and shares no lock with the writing one: a writer
    that is suspended while it holds a lock would hold up every request of the mount. Each counter
    has one thread that changes it.

    Attributes:
        dropped: number of pieces that were not written because the queue was full or the
            shutdown's time was up.
    """

    def __init__(
        self, store: Sink, limit_bytes: int = QUEUE_BYTES, linger: float = _LINGER_SECONDS
    ) -> None:
        """Take the store; ``start`` starts the thread, ``end`` must follow."""
        self.dropped = 0
        self._store = store
        self._limit = limit_bytes
        self._linger = linger
        self._added = 0
        self._done = 0
        self._inbox: deque[tuple[Validator, int, int, Buffer]] = deque()
        self._gathered: OrderedDict[tuple[Validator, int], Waiting] = OrderedDict()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wakeup, select.POLLIN)
        self._is_asleep = False
        self._ending = False
        self._draining = 0
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="azfilesfs-cache", daemon=True)

    @property
    def queued_bytes(self) -> int:
        """What waits, or is being written."""
        return self._added - self._done

    def start(self) -> None:
        """Start the thread: it sweeps the store first, then writes."""
        self._thread.start()

    def put(self, validator: Validator, slab: int, first: int, data: Buffer) -> None:
        """Have blocks of one slab written some time; never waits for anything."""
        if self._ending or self.queued_bytes + len(data) > self._limit:
            self.dropped += 1
            return
        self._added += len(data)
        self._inbox.append((validator, slab, first, data))
        # What gathers is looked at when it has waited long enough; the rest goes at once.
        is_whole = _is_large_and_whole(validator, slab, len(data))
        if self._is_asleep or is_whole or self._is_urgent():
            self._wake()

    def wait_idle(self, seconds: float) -> bool:
        """Block until everything is written, or the time is up; return whether it is."""
        with self._progress:
            self._draining += 1
            self._wake()
            try:
                return self._progress.wait_for(lambda: not self.queued_bytes, timeout=seconds)
            finally:
                self._draining -= 1

    def end(self) -> None:
        """Drop what still waits and block until the thread has ended."""
        if self._ending:
            return
        self._store.stop()
        self._ending = True
        self._wake()
        self._thread.join()
        os.close(self._wakeup)
        self._gather()
        self.dropped += sum(len(waiting.pieces) for waiting in self._gathered.values())
        self._gathered.clear()
        self._done = self._added

    def _wake(self) -> None:
        os.eventfd_write(self._wakeup, 1)

    def _run(self) -> None:
        self._store.sweep()
        while not self._ending:
            self._gather()
            now = time.monotonic()
            if batch := self._due(now):
                self._write(batch)
            else:
                self._sleep(now)

    def _write(self, batch: list[Waiting]) -> None:
        self._store.write(batch)
        self._done += sum(waiting.length for waiting in batch)
        with self._progress:
            self._progress.notify_all()

    def _gather(self) -> None:
        """Sort what has come by slab."""
        while self._inbox:
            validator, slab, first, data = self._inbox.popleft()
            waiting = self._gathered.get((validator, slab))
            if waiting is None:
                waiting = Waiting(validator, slab, time.monotonic())
                self._gathered[validator, slab] = waiting
            waiting.add(first, data)

    def _due(self, now: float) -> list[Waiting]:
        batch: list[Waiting] = []
        length = 0
        everything = bool(self._draining) or self._is_urgent()
        for key, waiting in list(self._gathered.items()):
            if everything or waiting.is_complete or now - waiting.since >= self._linger:
                batch.append(waiting)
                del self._gathered[key]
                length += waiting.length
                if length >= _BATCH_BYTES:
                    break
        return batch

    def _sleep(self, now: float) -> None:
        """Wait until something is due, or somebody wakes us."""
        oldest = next(iter(self._gathered.values()), None)
        timeout = None if oldest is None else max(0.0, oldest.since + self._linger - now)
        # Whoever puts something in from here on sees the mark; what was put in before is seen here.
        self._is_asleep = timeout is None
        if not self._inbox:
            self._poll.poll(None if timeout is None else timeout * 1000)
        self._is_asleep = False
        with suppress(BlockingIOError):
            os.eventfd_read(self._wakeup)

    def _is_urgent(self) -> bool:
        return self.queued_bytes > self._limit // 2


def _is_large_and_whole(validator: Validator, slab: int, length: int) -> bool:
    return length >= _LARGE_BYTES and length >= place_of(validator, slab).length
