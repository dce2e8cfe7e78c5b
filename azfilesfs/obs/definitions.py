"""The names of all metrics, in one place; docs/reference/metrics.md lists them, a test compares.

A *stable* metric keeps its name, kind, labels and meaning until the next major version. An
*experimental* one may change with any version; the changelog says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LOCK_BUCKETS: Final = (0.001, 0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800)
_KERNEL_BUCKETS: Final = (0.0001, 0.00025, 0.001, 0.0025, *_REQUEST_BUCKETS)


class Kind(Enum):
    """What Prometheus may do with a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Stability(Enum):
    """What a dashboard may rely on."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. ``name`` is as exported; ``buckets`` are seconds."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    stability: Stability = Stability.STABLE
    buckets: tuple[float, ...] = ()

    @property
    def help(self) -> str:
        """The help text that is exported."""
        return f"{self.text} ({self.stability.value})"


OPERATIONS: Final = Definition(
    "azure_files_operations_total",
    Kind.COUNTER,
    "Operations on the service, by their last status",
    ("share", "operation", "status"),
)
LATENCY: Final = Definition(
    "azure_files_latency_seconds",
    Kind.HISTOGRAM,
    "Duration of operations on the service, repetitions included",
    ("share", "operation"),
    buckets=_REQUEST_BUCKETS,
)
BYTES: Final = Definition(
    "azure_files_bytes_total",
    Kind.COUNTER,
    "Bytes of request and answer bodies",
    ("share", "direction"),
)
ERRORS: Final = Definition(
    "azure_files_errors_total",
    Kind.COUNTER,
    "Failed operations on the service",
    ("operation", "error_type"),
)
ACTIVE_LEASES: Final = Definition(
    "azure_files_active_leases", Kind.GAUGE, "Leases held on files", ("share",)
)
RETRIES: Final = Definition(
    "azure_files_retries_total", Kind.COUNTER, "Repeated requests", ("operation",)
)
BREAKER: Final = Definition(
    "azure_files_breaker_state",
    Kind.GAUGE,
    "1 for the state that the circuit breaker is in",
    ("state",),
    Stability.EXPERIMENTAL,
)
KERNEL_LATENCY: Final = Definition(
    "azfilesfs_fuse_operation_seconds",
    Kind.HISTOGRAM,
    "Duration of operations that the kernel asked for",
    ("operation",),
    buckets=_KERNEL_BUCKETS,
)
KERNEL_ERRORS: Final = Definition(
    "azfilesfs_fuse_errors_total",
    Kind.COUNTER,
    "Operations answered with an errno, which includes names that do not exist",
    ("operation", "errno"),
)
LOCK_WAIT: Final = Definition(
    "azfilesfs_lock_wait_seconds",
    Kind.HISTOGRAM,
    "Duration of requests for a lock that may wait, granted or not",
    ("outcome",),
    buckets=_LOCK_BUCKETS,
)
LOCK_WAITERS: Final = Definition(
    "azfilesfs_lock_waiters", Kind.GAUGE, "Requests for a lock that have not been answered"
)
LOCK_TAKEOVERS: Final = Definition(
    "azfilesfs_lock_takeovers_total",
    Kind.COUNTER,
    "Leases taken over from mounts that had died",
)
LOCKS_LOST: Final = Definition(
    "azfilesfs_locks_lost_total",
    Kind.COUNTER,
    "Locks of programs on this mount that were lost to another mount",
)


def _gauge(name: str, text: str, stability: Stability = Stability.STABLE) -> Definition:
    return Definition(f"azfilesfs_{name}", Kind.GAUGE, text, (), stability)


def _total(name: str, text: str, stability: Stability = Stability.STABLE) -> Definition:
    return Definition(f"azfilesfs_{name}_total", Kind.COUNTER, text, (), stability)


GAUGES: Final = {
    "dirty_bytes": _gauge("dirty_bytes", "Bytes written here and not yet at the service"),
    "dirty_files": _gauge("dirty_files", "Files with such bytes"),
    "open_handles": _gauge("open_handles", "Open files and directories"),
    "inodes": _gauge("inodes", "Inodes in memory"),
    "cached_names": _gauge("cached_names", "Names of cached listings in memory"),
    "cache_memory_bytes": _gauge("cache_memory_bytes", "Bytes of the block cache in memory"),
    "buffer_bytes": _gauge(
        "buffer_bytes",
        "Bytes of file contents in memory: cached, on their way, waiting for the disk",
        Stability.EXPERIMENTAL,
    ),
    "cache_disk_bytes": _gauge("cache_disk_bytes", "Bytes of the block cache on disk"),
    "connections_limit": _gauge(
        "connections_limit", "Connections that may be open at once", Stability.EXPERIMENTAL
    ),
    "requests_in_flight": _gauge(
        "requests_in_flight", "Requests sent and not yet answered", Stability.EXPERIMENTAL
    ),
    "requests_stalled": _gauge(
        "requests_stalled",
        "Requests in flight that get no answer, outside of the window",
        Stability.EXPERIMENTAL,
    ),
    "requests_window": _gauge(
        "requests_window",
        "Requests that may be in flight at once now, the stalled ones apart",
        Stability.EXPERIMENTAL,
    ),
    "requests_waiting_foreground": _gauge(
        "requests_waiting_foreground",
        "Requests not yet sent that somebody waits for",
        Stability.EXPERIMENTAL,
    ),
    "requests_waiting_readahead": _gauge(
        "requests_waiting_readahead",
        "Requests not yet sent that read ahead",
        Stability.EXPERIMENTAL,
    ),
    "requests_waiting_background": _gauge(
        "requests_waiting_background",
        "Requests not yet sent that nobody waits for",
        Stability.EXPERIMENTAL,
    ),
}
"""Read at each scrape, by the names that the parts use."""

TOTALS: Final = {
    "cache_memory_hits": _total("cache_memory_hits", "Times that bytes were found in memory"),
    "cache_disk_hits": _total("cache_disk_hits", "Times that bytes were found on disk"),
    "cache_misses": _total("cache_misses", "Blocks that had to be asked for"),
    "cache_dropped_writes": _total(
        "cache_dropped_writes",
        "Values not written to the disk cache, because it was full, slow or failing",
        Stability.EXPERIMENTAL,
    ),
    "cache_damaged": _total(
        "cache_damaged", "Values of the disk cache found damaged", Stability.EXPERIMENTAL
    ),
    "invalidations_dropped": _total(
        "invalidations_dropped",
        "Kernel invalidations given up because too many waited",
        Stability.EXPERIMENTAL,
    ),
}
"""Growing numbers read at each scrape, by the names that the parts use."""

ALL: Final = (
    OPERATIONS,
    LATENCY,
    BYTES,
    ERRORS,
    ACTIVE_LEASES,
    RETRIES,
    BREAKER,
    KERNEL_LATENCY,
    KERNEL_ERRORS,
    LOCK_WAIT,
    LOCK_WAITERS,
    LOCK_TAKEOVERS,
    LOCKS_LOST,
    *GAUGES.values(),
    *TOTALS.values(),
)
