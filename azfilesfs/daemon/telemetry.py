"""What the layers report, as metrics and log lines; they know neither and call observers."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

from azfilesfs.cache import BlockCache
from azfilesfs.client import (
    AttemptEvent,
    BreakerState,
    RetryEvent,
    ShareServiceClient,
)
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import MountConfig
from azfilesfs.fuse.guard import Observer, ignore_measurement
from azfilesfs.fuse.notifier import PyfuseNotifier
from azfilesfs.obs.exporter import exported
from azfilesfs.obs.logs import TRACE
from azfilesfs.obs.metrics import Gauges, Metrics
from azfilesfs.vfs.filesystem import FileSystem
from azfilesfs.vfs.locks.observer import LockObserver, NoLockObserver

_log = logging.getLogger("azfilesfs.requests")

_TRANSFERS: Final = frozenset({"PutRange", "GetFile", "ClearRange"})


class ClientReporter:
    """Hears of every request of the client (``azfilesfs.client.RequestObserver``)."""

    def __init__(self, metrics: Metrics | None) -> None:
        """Report to the log, and to metrics if there are any."""
        self._metrics = metrics

    def attempt_finished(self, event: AttemptEvent) -> None:
        """Log one request with its answer."""
        if self._metrics is not None:
            self._metrics.request_bytes(event.bytes_sent, event.bytes_received)
        level = TRACE if event.operation in _TRANSFERS else logging.DEBUG
        if _log.isEnabledFor(level):
            _log.log(
                level,
                "attempt %d of %s %s: %s, %d bytes out, %d in, request id %s",
                event.attempt,
                event.operation,
                event.path or "/",
                _outcome(event),
                event.bytes_sent,
                event.bytes_received,
                event.request_id,
            )

    def operation_finished(self, event: AttemptEvent) -> None:
        """Count an operation; what it means for a program is logged where it is known."""
        if self._metrics is not None:
            self._count(self._metrics, event)
        if _log.isEnabledFor(logging.INFO):
            _log.info(
                "%s %s: %s in %.3f s",
                event.operation,
                event.path or "/",
                _outcome(event),
                event.seconds,
            )

    def _count(self, metrics: Metrics, event: AttemptEvent) -> None:
        status = "cancelled" if event.cancelled else str(event.status or "none")
        error = type(event.error).__name__ if event.error is not None else None
        metrics.operation(event.operation, status, event.seconds, error)

    def retrying(self, event: RetryEvent) -> None:
        """Log a repetition."""
        if self._metrics is not None:
            self._metrics.retry(event.operation)
        _log.warning(
            "%s %s is repeated in %.1f s: %s",
            event.operation,
            event.path or "/",
            event.delay,
            event.error,
        )

    def breaker_changed(self, state: BreakerState) -> None:
        """Log that the service is held off, or used again."""
        if self._metrics is not None:
            self._metrics.breaker_changed(state.value)
        level = logging.INFO if state is BreakerState.CLOSED else logging.WARNING
        _log.log(level, "the circuit to the service is %s", state.value)

    def credentials_refreshed(self, *, changed: bool) -> None:
        """Log that the credential was looked up anew."""
        _log.info("the credential was read again: %s", "changed" if changed else "unchanged")

    def version_changed(self, version: str) -> None:
        """Log the service version in use."""
        _log.info("the service refused a newer version; %s is in use", version)


class LockReporter:
    """Hears what becomes of locks (``azfilesfs.vfs.locks.observer.LockObserver``)."""

    def __init__(self, metrics: Metrics) -> None:
        """Report to metrics; what a program must know is logged where it happens."""
        self._metrics = metrics

    def waiters_changed(self, difference: int) -> None:
        """Count requests that begin and end."""
        self._metrics.lock_waiters_changed(difference)

    def waited(self, seconds: float, *, granted: bool) -> None:
        """Count a request that has ended."""
        self._metrics.lock_waited(seconds, granted=granted)

    def taken_over(self) -> None:
        """Count a lease taken over from the dead."""
        self._metrics.lock_taken_over()

    def lost(self, count: int) -> None:
        """Count locks that were lost."""
        self._metrics.lost_locks(count)

    def leases_changed(self, difference: int) -> None:
        """Count leases taken and given back."""
        self._metrics.leases_changed(difference)


def _outcome(event: AttemptEvent) -> str:
    if event.cancelled:
        return "cancelled"
    if event.error is not None:
        return f"{event.status or 'no answer'} {type(event.error).__name__}"
    return str(event.status)


class Telemetry:
    """The observers of one mount.

    Attributes:
        client: for the client library.
        kernel: for the guard of the adapter.
        locks: for the locks between hosts.
    """

    def __init__(self, metrics: Metrics | None) -> None:
        """Report to metrics if there are any, and to the log."""
        self._metrics = metrics
        self.client = ClientReporter(metrics)
        self.kernel: Observer = self._kernel if metrics is not None else ignore_measurement
        self.locks: LockObserver = NoLockObserver() if metrics is None else LockReporter(metrics)

    @classmethod
    @asynccontextmanager
    async def open(cls, config: MountConfig) -> AsyncIterator[Telemetry]:
        """Serve metrics, if they are wanted, while the block runs.

        Raises:
            CommandFailed: the address cannot be listened on.
        """
        if config.metrics is None:
            yield cls(None)
            return
        metrics = Metrics(config.share)
        with ExitStack() as stack:
            where = config.metrics
            try:
                port = stack.enter_context(exported(metrics, where.host, where.port))
            except OSError as error:
                raise CommandFailed(
                    ExitCode.FAILED,
                    f"metrics cannot be served on {where.host}:{where.port}: {error.strerror}",
                ) from None
            _log.info("metrics are served on port %d", port)
            yield cls(metrics)

    def watch(
        self,
        filesystem: FileSystem,
        cache: BlockCache,
        notifier: PyfuseNotifier,
        service: ShareServiceClient,
        connections: int,
    ) -> None:
        """Show the gauges of the parts from now on."""
        if self._metrics is None:
            return

        def read() -> Gauges:
            files, blocks = filesystem.statistics(), cache.statistics()
            requests = service.statistics
            return Gauges(
                {
                    "dirty_bytes": files.dirty_bytes,
                    "dirty_files": files.dirty_files,
                    "open_handles": files.open_handles,
                    "inodes": files.inodes,
                    "cached_names": files.cached_names,
                    "cache_memory_bytes": blocks.memory_bytes,
                    "buffer_bytes": blocks.buffer_bytes,
                    "cache_disk_bytes": blocks.disk_bytes,
                    "connections_limit": connections,
                    "requests_in_flight": requests.in_flight,
                    "requests_stalled": requests.stalled,
                    "requests_window": requests.window,
                    "requests_waiting_foreground": requests.waiting_foreground,
                    "requests_waiting_readahead": requests.waiting_readahead,
                    "requests_waiting_background": requests.waiting_background,
                },
                {
                    "cache_memory_hits": blocks.memory_hits,
                    "cache_disk_hits": blocks.disk_hits,
                    "cache_misses": blocks.misses,
                    "cache_dropped_writes": blocks.dropped_writes,
                    "cache_damaged": blocks.damaged,
                    "invalidations_dropped": notifier.dropped,
                },
            )

        self._metrics.read_at_scrape(read)

    def _kernel(self, operation: str, seconds: float, number: int) -> None:
        if self._metrics is not None:
            name = errno.errorcode.get(number, str(number)) if number else None
            self._metrics.kernel_operation(operation, seconds, name)
