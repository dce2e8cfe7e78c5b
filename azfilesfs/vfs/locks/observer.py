"""What happens to locks, for whoever counts it."""

from __future__ import annotations

from typing import Protocol


class LockObserver(Protocol):
    """Hears what becomes of locks; called from the event loop, must not block or raise."""

    def waiters_changed(self, difference: int) -> None:
        """Note that blocking requests have begun (positive) or ended (negative)."""

    def waited(self, seconds: float, *, granted: bool) -> None:
        """Note how long a blocking request took, and how it ended.

        ``granted`` is False where it was interrupted, refused or timed out.
        """

    def taken_over(self) -> None:
        """Note that the lease of a dead session was taken over or released."""

    def lost(self, count: int) -> None:
        """Note that so many locks held at the service were lost to another mount."""

    def leases_changed(self, difference: int) -> None:
        """Note that leases on files were taken (positive) or are gone (negative)."""


class NoLockObserver:
    """Counts nothing."""

    def waiters_changed(self, difference: int) -> None:
        """Ignore it."""

    def waited(self, seconds: float, *, granted: bool) -> None:
        """Ignore it."""

    def taken_over(self) -> None:
        """Ignore it."""

    def lost(self, count: int) -> None:
        """Ignore it."""

    def leases_changed(self, difference: int) -> None:
        """Ignore it."""
