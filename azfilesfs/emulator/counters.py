"""How many requests of each operation were answered how, and how many bytes moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TypedDict


class RequestCounts(TypedDict):
    """What ``GET /_emulator/requests`` shows."""

    operations: dict[str, dict[str, int]]
    bytes: dict[str, int]


class RequestCounters:
    """Counts since the start or the last reset."""

    def __init__(self) -> None:
        self._operations: defaultdict[str, defaultdict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        self._received = 0
        self._sent = 0

    def record(self, operation: str, status: str, *, received: int, sent: int) -> None:
        """Count one request; ``status`` is the HTTP status, or ``cut`` where no answer was sent."""
        self._operations[operation][status] += 1
        self._received += received
        self._sent += sent

    def counts(self) -> RequestCounts:
        """Return the counts."""
        operations = {name: dict(found) for name, found in self._operations.items()}
        return {
            "operations": operations,
            "bytes": {"in": self._received, "out": self._sent},
        }

    def of(self, operation: str, status: int | str | None = None) -> int:
        """Return how many requests of an operation there were, of one status or of all."""
        found: Mapping[str, int] = self._operations.get(operation, {})
        return sum(found.values()) if status is None else found.get(str(status), 0)

    def total(self) -> int:
        """Return how many requests there were."""
        return sum(sum(found.values()) for found in self._operations.values())

    def reset(self) -> None:
        """Start again at zero."""
        self._operations.clear()
        self._received = self._sent = 0
