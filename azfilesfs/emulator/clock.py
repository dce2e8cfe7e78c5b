"""The one clock of the service, in ticks of 100 ns; times are Unix nanoseconds."""

from __future__ import annotations

from collections.abc import Callable

from azfilesfs.model.times import TICK_NS, floor_to_tick


class ServiceClock:
    """Time stamps for changes, later at every call unless equal ticks are wanted."""

    def __init__(self, source: Callable[[], int], *, equal_ticks: bool = False) -> None:
        self._source = source
        self._equal_ticks = equal_ticks
        self._last = 0

    def now(self) -> int:
        """Return the time without stepping: for dates, validity checks and leases."""
        return floor_to_tick(self._source())

    def tick(self) -> int:
        """Return the time of a change."""
        moment = floor_to_tick(self._source())
        if not self._equal_ticks and moment <= self._last:
            moment = self._last + TICK_NS
        self._last = max(self._last, moment)
        return moment
