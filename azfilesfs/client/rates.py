"""How much may be asked of the service: a window of requests, and rates. Pure; the caller has the
clock, in seconds of any monotonic kind.
"""

from __future__ import annotations

import math
from typing import Final

_BURST_SECONDS: Final = 0.5
_RESOLUTION_SECONDS: Final = 1e-6
"""Less debt than this is rounding."""


class Window:
    """How many requests may be in flight: halved when the service says that it is busy, and grown
    by one for each whole window that it answered (AIMD).

    Invariant: ``1 <= size <= limit``.
    """

    def __init__(self, limit: int) -> None:
        """Begin with the whole limit."""
        self.limit = limit
        self._size = float(limit)
        self._cut_at = -math.inf

    @property
    def size(self) -> int:
        """How many requests may be in flight now."""
        return int(self._size)

    def answered(self, in_flight: int) -> None:
        """Take note of an answer; a window that is not half used has proved nothing."""
        if self._size < self.limit and 2 * in_flight >= self.size:
            self._size = min(float(self.limit), self._size + 1 / self._size)

    def throttled(self, began: float, now: float) -> None:
        """Take note that a request which began then was refused for being one too many.

        Those that were sent before the last cut say nothing about what is left of the window.
        """
        if began > self._cut_at:
            self._size = max(1.0, self._size / 2)
            self._cut_at = now


class TokenBucket:
    """A rate. What is taken may exceed what is there, once: the debt is waited for afterwards.

    So in any period no more is taken than its length times the rate, half a second's worth, and
    one take.
    """

    def __init__(self, rate: float) -> None:
        """Begin with a full bucket; the rate is in units a second."""
        self.rate = rate
        self._burst = rate * _BURST_SECONDS
        self._level = self._burst
        self._at = -math.inf

    def ready_at(self, now: float) -> float:
        """Return when something may be taken: ``now`` or later."""
        return now + max(0.0, -self._level_at(now) / self.rate)

    def is_ready(self, now: float) -> bool:
        """Tell whether something may be taken now."""
        return self._level_at(now) > -self.rate * _RESOLUTION_SECONDS

    def take(self, amount: float, now: float) -> None:
        """Take something; a negative amount gives back what was not needed."""
        self._level = min(self._burst, self._level_at(now) - amount)
        self._at = now

    def _level_at(self, now: float) -> float:
        if self._level >= self._burst:
            return self._burst
        return min(self._burst, self._level + (now - self._at) * self.rate)
