"""A slow network: latency for each request, and a bandwidth that all requests share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import trio

from azfilesfs.model.limits import MIB


class SettingsError(ValueError):
    """Network settings are not as documented."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Seconds added to every request, and MiB/s of bodies in each direction; None for no limit."""

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


class Network:
    """Delays requests by the settings; the two directions do not disturb each other."""

    def __init__(self) -> None:
        self.settings = NetworkSettings()
        self._free_at = {"up": 0.0, "down": 0.0}

    def set(self, settings: NetworkSettings) -> None:
        """Replace the settings; requests that already wait keep their delay."""
        self.settings = settings
        self._free_at = {"up": 0.0, "down": 0.0}

    async def receive(self, size: int) -> None:
        """Wait as long as a request with a body of that size takes to arrive."""
        delay = self.settings.latency + self._reserve("up", size)
        if delay > 0:
            await trio.sleep(delay)

    async def send(self, size: int) -> None:
        """Wait as long as a body of that size takes to be sent."""
        delay = self._reserve("down", size)
        if delay > 0:
            await trio.sleep(delay)

    def _reserve(self, direction: str, size: int) -> float:
        rate = self.settings.mib_per_second
        if rate is None or not size:
            return 0.0
        now = trio.current_time()
        end = max(now, self._free_at[direction]) + size / (rate * MIB)
        self._free_at[direction] = end
        return end - now
