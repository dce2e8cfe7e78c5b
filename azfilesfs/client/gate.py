"""Where attempts wait while the circuit breaker is open."""

from __future__ import annotations

import trio

from azfilesfs.client.breaker import Breaker, BreakerPolicy, BreakerState, Outcome
from azfilesfs.client.options import RequestObserver


class BreakerGate:
    """The breaker with its waiters.

    State changes are synchronous; who waits looks again whenever it could go on.
    """

    def __init__(self, policy: BreakerPolicy, observer: RequestObserver) -> None:
        """Start closed."""
        self._breaker = Breaker(policy)
        self._observer = observer
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_open(self) -> bool:
        """Whether the service is held to be out of order."""
        return self._breaker.state is not BreakerState.CLOSED

    async def enter(self) -> int:
        """Wait until an attempt may be made; the ticket must be given back to ``leave``.

        A cancellation leaves nothing behind.
        """
        while True:
            before = self._breaker.state
            ticket = self._breaker.admit(trio.current_time())
            self._tell(before)
            if ticket is not None:
                return ticket
            retry_at = self._breaker.retry_at()
            with trio.move_on_at(float("inf") if retry_at is None else retry_at):
                await self._waiting.park()

    def leave(self, ticket: int, outcome: Outcome, subject: str | None = None) -> None:
        """Settle an attempt and wake who waits; ``subject`` as for ``Breaker.settle``."""
        before = self._breaker.state
        self._breaker.settle(ticket, outcome, trio.current_time(), subject=subject)
        self._tell(before)
        if self._waiting:
            self._waiting.unpark_all()

    def _tell(self, before: object) -> None:
        if self._breaker.state is not before:
            self._observer.breaker_changed(self._breaker.state)
