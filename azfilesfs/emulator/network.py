"""A slow network: latency for each request, and a bandwidth that all requests share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import trio

from azfilesfs.model.limits import MIB


class SettingsError(ValueError):
    """Network settings are not as documented."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Seconds that a request takes, and MiB/s of bodies in each direction; None for no limit."""

    latency: float = 0.0
    mib_per_second: float | None = None

    @classmethod
    def from_json(cls, data: object) -> NetworkSettings:
        """Read the body of ``PUT /_emulator/network``.

        Raises:
            SettingsError: it is not as documented.
        """
        if not isinstance(data, Mapping) or not data.keys() <= {"latency", "mib_per_second"}:
            raise SettingsError("network settings are an object with latency and mib_per_second")
        latency, rate = data.get("latency", 0.0), data.get("mib_per_second")
        if not isinstance(latency, int | float) or latency < 0:
            raise SettingsError("latency is a number of seconds")
        if rate is not None and (not isinstance(rate, int | float) or rate <= 0):
            raise SettingsError("mib_per_second is a positive number")
        return cls(float(latency), rate)


_MOST_EARLY: Final = 0.001
"""Seconds by which a wait is cut at most for what follows it."""

_LEARNING: Final = 1 / 8


class Network:
    """Delays requests by the settings; the two directions do not disturb each other.

    A latency lasts from the moment when a request is there until its answer is ready: waking up and
    making the answer are part of it, up to a millisecond, as the service's own time is part of what
    a client sees of it. How much that is, is learned from the requests before.

    Attributes:
        settings: what is added.
        sleep_until: how to wait for a moment of trio's clock.
    """

    def __init__(self) -> None:
        self.settings = NetworkSettings()
        self.sleep_until: Callable[[float], Awaitable[None]] = trio.sleep_until
        self._free_at = {"up": 0.0, "down": 0.0}
        self._early = 0.0

    def set(self, settings: NetworkSettings) -> None:
        """Replace the settings; requests that already wait keep their delay."""
        self.settings = settings
        self._free_at = {"up": 0.0, "down": 0.0}
        self._early = 0.0

    async def receive(self, size: int) -> float | None:
        """Wait as long as a request with a body of that size takes to arrive.

        Return when its answer is due, for ``answered``; None where nothing is added.
        """
        latency = self.settings.latency
        delay = latency + self._reserve("up", size)
        if delay <= 0:
            return None
        due = trio.current_time() + delay
        await self.sleep_until(due - min(self._early, latency / 2))
        return due if latency else None

    def answered(self, due: float | None) -> None:
        """Learn from an answer that is ready how late it is."""
        if due is None:
            return
        late = max(-_MOST_EARLY, min(trio.current_time() - due, _MOST_EARLY))
        self._early = max(0.0, min(self._early + late * _LEARNING, _MOST_EARLY))

    async def send(self, size: int) -> None:
        """Wait as long as a body of that size takes to be sent."""
        delay = self._reserve("down", size)
        if delay > 0:
            await self.sleep_until(trio.current_time() + delay)

    def _reserve(self, direction: str, size: int) -> float:
        rate = self.settings.mib_per_second
        if rate is None or not size:
            return 0.0
        now = trio.current_time()
        end = max(now, self._free_at[direction]) + size / (rate * MIB)
        self._free_at[direction] = end
        return end - now
