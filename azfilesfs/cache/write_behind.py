"""One thread that writes blocks to disk. Nobody waits for it, except a clean shutdown.

Blocks wait by slab. A slab that is complete goes at once, others a little later, so that what
random reads bring is written in bulk: one transaction for all that has gathered.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from azfilesfs.cache.blocks import Buffer, place_of
from azfilesfs.model.limits import MIB
from azfilesfs.model.versions import Validator

QUEUE_BYTES: Final = 32 * MIB
"""How many bytes may wait for the disk; what does not fit is dropped."""

_BATCH_BYTES: Final = 8 * MIB
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
        """Whether there is nothing more to wait for."""
        return self.length >= place_of(self.validator, self.slab).length


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

    Attributes:
        dropped: number of pieces that were not written because the queue was full or the
            shutdown's time was up.
        queued_bytes: what waits, or is being written.
    """

    def __init__(
        self, store: Sink, limit_bytes: int = QUEUE_BYTES, linger: float = _LINGER_SECONDS
    ) -> None:
        """Take the store; ``start`` starts the thread."""
        self.dropped = 0
        self.queued_bytes = 0
        self._store = store
        self._limit = limit_bytes
        self._linger = linger
        self._queue: OrderedDict[tuple[Validator, int], Waiting] = OrderedDict()
        self._changed = threading.Condition()
        self._ending = False
        self._draining = 0
        self._thread = threading.Thread(target=self._run, name="azfilesfs-cache", daemon=True)

    def start(self) -> None:
        """Start the thread: it sweeps the store first, then writes."""
        self._thread.start()

    def put(self, validator: Validator, slab: int, first: int, data: Buffer) -> None:
        """Have blocks of one slab written some time; never blocks on the disk."""
        with self._changed:
            if self._ending or self.queued_bytes + len(data) > self._limit:
                self.dropped += 1
                return
            waiting = self._queue.get((validator, slab))
            if waiting is None:
                waiting = self._queue[validator, slab] = Waiting(validator, slab, time.monotonic())
            waiting.add(first, data)
            self.queued_bytes += len(data)
            # The thread looks by itself when what it knows of has waited long enough.
            if len(self._queue) == 1 or waiting.is_complete or self._is_urgent():
                self._changed.notify_all()

    def wait_idle(self, seconds: float) -> bool:
        """Block until everything is written, or the time is up; return whether it is."""
        with self._changed:
            self._draining += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self.queued_bytes, timeout=seconds)
            finally:
                self._draining -= 1

    def end(self) -> None:
        """Drop what still waits and block until the thread has ended."""
        self._store.stop()
        with self._changed:
            self._ending = True
            self.dropped += sum(len(waiting.pieces) for waiting in self._queue.values())
            self.queued_bytes -= sum(waiting.length for waiting in self._queue.values())
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        self._store.sweep()
        while batch := self._take():
            length = sum(waiting.length for waiting in batch)
            self._store.write(batch)
            # The buffers must not wait for the next batch.
            batch.clear()
            with self._changed:
                self.queued_bytes -= length
                self._changed.notify_all()

    def _take(self) -> list[Waiting]:
        """Wait for something that is due and take it out; return nothing at the end."""
        with self._changed:
            while True:
                if self._ending:
                    return []
                now = time.monotonic()
                if batch := self._due(now):
                    return batch
                oldest = next(iter(self._queue.values()), None)
                self._changed.wait(oldest.since + self._linger - now if oldest else None)

    def _due(self, now: float) -> list[Waiting]:
        batch: list[Waiting] = []
        length = 0
        everything = bool(self._draining) or self._is_urgent()
        for key, waiting in list(self._queue.items()):
            if everything or waiting.is_complete or now - waiting.since >= self._linger:
                batch.append(waiting)
                del self._queue[key]
                length += waiting.length
                if length >= _BATCH_BYTES:
                    break
        return batch

    def _is_urgent(self) -> bool:
        return self.queued_bytes > self._limit // 2
