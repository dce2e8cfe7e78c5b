"""Every metric there is, in one place (docs/reference/metrics.md lists them; a test compares).

Counters are counted where things happen; gauges are read from the parts when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_KERNEL_BUCKETS: Final = (0.0001, 0.00025, 0.001, 0.0025, *_REQUEST_BUCKETS)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at each scrape, for one mount.

    Attributes:
        now: current values by the names in ``GAUGES``.
        totals: growing values by the names in ``TOTALS``.
    """

    now: Mapping[str, float]
    totals: Mapping[str, float]


GAUGES: Final = {
    "dirty_bytes": "Bytes written here and not yet at the service",
    "dirty_files": "Files with such bytes",
    "open_handles": "Open files and directories",
    "inodes": "Inodes in memory",
    "cached_names": "Names of cached listings in memory",
    "cache_memory_bytes": "Bytes of the block cache in memory",
    "cache_disk_bytes": "Bytes of the block cache on disk",
    "connections_limit": "Requests that may be in flight at once",
}
TOTALS: Final = {
    "cache_memory_hits": "Blocks found in memory",
    "cache_disk_hits": "Blocks found on disk",
    "cache_misses": "Blocks that had to be asked for",
    "invalidations_dropped": "Kernel invalidations given up because too many waited",
}


class Metrics:
    """The metrics of one mount, in a registry of their own."""

    def __init__(self, share: str) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._share = share
        self.operations = Counter(
            "azure_files_operations_total",
            "Operations on the service, by their last status",
            ("share", "operation", "status"),
            registry=self.registry,
        )
        self.latency = Histogram(
            "azure_files_latency_seconds",
            "Duration of operations on the service, repetitions included",
            ("share", "operation"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.bytes = Counter(
            "azure_files_bytes_total",
            "Bytes of request and answer bodies",
            ("share", "direction"),
            registry=self.registry,
        )
        self.errors = Counter(
            "azure_files_errors_total",
            "Failed operations on the service",
            ("operation", "error_type"),
            registry=self.registry,
        )
        self.retries = Counter(
            "azure_files_retries_total",
            "Repeated requests",
            ("operation",),
            registry=self.registry,
        )
        self.kernel_latency = Histogram(
            "azfilesfs_fuse_operation_seconds",
            "Duration of operations that the kernel asked for",
            ("operation",),
            buckets=_KERNEL_BUCKETS,
            registry=self.registry,
        )
        self.kernel_errors = Counter(
            "azfilesfs_fuse_errors_total",
            "Operations answered with an errno, which includes names that do not exist",
            ("operation", "errno"),
            registry=self.registry,
        )
        self._leases = 0
        # Labels are looked up once: this runs for every 4 KiB that a program writes.
        self._kernel: dict[str, Histogram] = {}
        ProcessCollector(registry=self.registry)

    def read_at_scrape(self, read: Callable[[], Gauges]) -> None:
        """Register what is to be read when somebody scrapes; called from the exporter's thread."""
        self.registry.register(_AtScrape(self._share, read, lambda: self._leases))

    def kernel_operation(self, operation: str, seconds: float, errno_name: str | None) -> None:
        """Count an operation of the kernel."""
        histogram = self._kernel.get(operation)
        if histogram is None:
            histogram = self._kernel[operation] = self.kernel_latency.labels(operation)
        histogram.observe(seconds)
        if errno_name is not None:
            self.kernel_errors.labels(operation, errno_name).inc()

    def request_bytes(self, sent: int, received: int) -> None:
        """Count the bytes of one request."""
        if sent:
            self.bytes.labels(self._share, "sent").inc(sent)
        if received:
            self.bytes.labels(self._share, "received").inc(received)

    def operation(self, operation: str, status: str, seconds: float, error: str | None) -> None:
        """Count an operation on the service."""
        self.operations.labels(self._share, operation, status).inc()
        self.latency.labels(self._share, operation).observe(seconds)
        if error is not None:
            self.errors.labels(operation, error).inc()

    def retry(self, operation: str) -> None:
        """Count a repetition."""
        self.retries.labels(operation).inc()

    def leases_changed(self, difference: int) -> None:
        """Count leases taken and given back."""
        self._leases = max(0, self._leases + difference)


class _AtScrape(Collector):
    """Asks the parts for their numbers when the exporter is asked."""

    def __init__(self, share: str, read: Callable[[], Gauges], leases: Callable[[], int]) -> None:
        self._share = share
        self._read = read
        self._leases = leases

    def describe(self) -> Iterable[Metric]:
        """Name the metrics without reading anything."""
        return self._families(Gauges({}, {}))

    def collect(self) -> Iterable[Metric]:
        """Read the numbers."""
        return self._families(self._read())

    def _families(self, values: Gauges) -> Iterable[Metric]:
        leases = GaugeMetricFamily(
            "azure_files_active_leases", "Leases held on files", labels=("share",)
        )
        leases.add_metric((self._share,), self._leases())
        yield leases
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(f"azfilesfs_{name}", text, values.now.get(name, 0))
        for name, text in TOTALS.items():
            yield CounterMetricFamily(f"azfilesfs_{name}", text, values.totals.get(name, 0))
