"""One thread that writes blocks to disk. Nobody waits for it, except a clean shutdown."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Protocol

from azfilesfs.model.limits import MIB

QUEUE_BYTES: Final = 32 * MIB
"""How many bytes may wait for the disk; what does not fit is dropped."""


class Sink(Protocol):
    """Where values go; see ``DiskStore``. None of its methods raises."""

    def sweep(self) -> None:
        """Put things in order before the first write."""
        ...

    def write(self, key: str, data: bytes | memoryview) -> None:
        """Store a value."""
        ...

    def stop(self) -> None:
        """Have ``sweep`` end soon; called from another thread."""
        ...


class WriteBehind:
    """A bounded queue in front of a store, with a thread of its own.

    Attributes:
        dropped: number of values that were not written because the queue was full or the
            shutdown's time was up.
        queued_bytes: what waits, or is being written.
    """

    def __init__(self, store: Sink, limit_bytes: int = QUEUE_BYTES) -> None:
        """Take the store; ``start`` starts the thread."""
        self.dropped = 0
        self.queued_bytes = 0
        self._store = store
        self._limit = limit_bytes
        self._queue: deque[tuple[str, bytes | memoryview]] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="azfilesfs-cache", daemon=True)

    def start(self) -> None:
        """Start the thread: it sweeps the store first, then writes."""
        self._thread.start()

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Have a value written some time; never blocks on the disk."""
        with self._changed:
            if self._ending or self.queued_bytes + len(data) > self._limit:
                self.dropped += 1
                return
            self._queue.append((key, data))
            self.queued_bytes += len(data)
            self._changed.notify_all()

    def wait_idle(self, seconds: float) -> bool:
        """Block until everything is written, or the time is up; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.queued_bytes, timeout=seconds)

    def end(self) -> None:
        """Drop what still waits and block until the thread has ended."""
        self._store.stop()
        with self._changed:
            self._ending = True
            self.dropped += len(self._queue)
            self.queued_bytes -= sum(len(data) for _, data in self._queue)
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        self._store.sweep()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ending)
                if not self._queue:
                    return
                key, data = self._queue.popleft()
            self._store.write(key, data)
            with self._changed:
                self.queued_bytes -= len(data)
                self._changed.notify_all()
