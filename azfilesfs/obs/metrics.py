"""Counting what happens, in a registry of its own for each mount.

Counters are counted where things happen; gauges are read from the parts when somebody scrapes, in
the exporter's thread. ``definitions`` has the names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from azfilesfs.obs import definitions
from azfilesfs.obs.definitions import Definition

_log = logging.getLogger("azfilesfs.metrics")
# Otherwise each counter brings a second series with the time at which it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library does not annotate it
_LOCK_OUTCOMES: Final = ("granted", "refused")
_BREAKER_STATES: Final = ("closed", "open", "half-open")


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at each scrape, for one mount.

    Attributes:
        now: current values by the names in ``GAUGES``.
        totals: growing values by the names in ``TOTALS``.
    """

    now: Mapping[str, float]
    totals: Mapping[str, float]


class Metrics:
    """The metrics of one mount, in a registry of their own."""

    def __init__(self, share: str) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._share = share
        self.operations = self._counter(definitions.OPERATIONS)
        self.latency = self._histogram(definitions.LATENCY)
        self.bytes = self._counter(definitions.BYTES)
        self.errors = self._counter(definitions.ERRORS)
        self.retries = self._counter(definitions.RETRIES)
        self.kernel_latency = self._histogram(definitions.KERNEL_LATENCY)
        self.kernel_errors = self._counter(definitions.KERNEL_ERRORS)
        self.lock_wait = self._histogram(definitions.LOCK_WAIT)
        self.lock_waiters = self._gauge(definitions.LOCK_WAITERS)
        self.lock_takeovers = self._counter(definitions.LOCK_TAKEOVERS)
        self.locks_lost = self._counter(definitions.LOCKS_LOST)
        for outcome in _LOCK_OUTCOMES:
            # Shown from the start, so that what never happened is zero and not missing.
            self.lock_wait.labels(outcome)
        self.breaker = self._gauge(definitions.BREAKER)
        self.breaker_changed("closed")
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

    def lock_waiters_changed(self, difference: int) -> None:
        """Count requests for a lock that begin and end."""
        self.lock_waiters.inc(difference)

    def lock_waited(self, seconds: float, *, granted: bool) -> None:
        """Count a request for a lock that has ended."""
        self.lock_wait.labels(_LOCK_OUTCOMES[not granted]).observe(seconds)

    def lock_taken_over(self) -> None:
        """Count a lease taken over from the dead."""
        self.lock_takeovers.inc()

    def lost_locks(self, count: int) -> None:
        """Count locks lost to another mount."""
        self.locks_lost.inc(count)

    def breaker_changed(self, state: str) -> None:
        """Show the state of the circuit breaker: closed, open or half-open."""
        for name in _BREAKER_STATES:
            self.breaker.labels(name).set(name == state)

    def _gauge(self, form: Definition) -> Gauge:
        return Gauge(form.name, form.help, form.labels, registry=self.registry)

    def _counter(self, form: Definition) -> Counter:
        return Counter(form.name, form.help, form.labels, registry=self.registry)

    def _histogram(self, form: Definition) -> Histogram:
        return Histogram(
            form.name, form.help, form.labels, buckets=form.buckets, registry=self.registry
        )


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
        """Read the numbers; parts that fail leave out theirs and not the counters."""
        try:
            values = self._read()
        except Exception:  # noqa: BLE001 - one failing part must not hide the counters
            _log.exception("the gauges cannot be read")
            return ()
        return self._families(values)

    def _families(self, values: Gauges) -> Iterable[Metric]:
        form = definitions.ACTIVE_LEASES
        leases = GaugeMetricFamily(form.name, form.help, labels=form.labels)
        leases.add_metric((self._share,), self._leases())
        yield leases
        for name, form in definitions.GAUGES.items():
            yield GaugeMetricFamily(form.name, form.help, values.now.get(name, 0))
        for name, form in definitions.TOTALS.items():
            yield CounterMetricFamily(form.name, form.help, values.totals.get(name, 0))
