"""The circuit breaker (specification 6.2): a pure state machine over times that the caller gives.

It counts connection failures, timeouts and 500s. Answers such as 404 are successes: the service is
there. Throttling (503, 429) counts as neither, nor does a read or write of a file that gets no
answer: a slow file is no outage. While open, callers wait; after the reset time one of them at a
time goes ahead as the probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class BreakerState(Enum):
    """Closed lets everything pass, open nothing, half-open one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Outcome(Enum):
    """What an attempt says about the service's health."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Thresholds.

    Attributes:
        failures: failures in a row that open it.
        successes: successful probes in a row that close it.
        reset_seconds: how long it stays open before a probe.
    """

    failures: int = 5
    successes: int = 2
    reset_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1 or self.successes < 1 or self.reset_seconds < 0:
            raise ValueError("the thresholds of a breaker must be positive")


class Breaker:
    """The state; every method is synchronous and takes the time in seconds on any monotonic clock.

    Invariant: ``_probing`` is True only while half-open, between an admission and its outcome.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        """Start closed."""
        self._policy = policy
        self._state = BreakerState.CLOSED
        self._count = 0
        self._probing = False
        self._opened_at = 0.0
        self._epoch = 0
        self._failed: set[str] = set()

    @property
    def state(self) -> BreakerState:
        """The state as of the last call."""
        return self._state

    def admit(self, now: float) -> int | None:
        """Let an attempt pass, or not.

        Returns:
            A ticket for ``settle``, or None where the caller must wait (until ``retry_at`` or a
            change of state).
        """
        if self._state is BreakerState.OPEN and now >= self._opened_at + self._policy.reset_seconds:
            self._change(BreakerState.HALF_OPEN)
        if self._state is BreakerState.OPEN or self._probing:
            return None
        self._probing = self._state is BreakerState.HALF_OPEN
        return self._epoch

    def retry_at(self) -> float | None:
        """Return when an open breaker admits a probe, None where only a change of state helps."""
        if self._state is BreakerState.OPEN:
            return self._opened_at + self._policy.reset_seconds
        return None

    def settle(
        self, ticket: int, outcome: Outcome, now: float, *, subject: str | None = None
    ) -> None:
        """Take in the outcome of an admitted attempt; one that was given up counts as neutral.

        Attempts admitted before the last change of state say nothing about the present one and are
        ignored. While closed, failures in a row that concern one subject count once.
        """
        if ticket != self._epoch:
            return
        self._probing = False
        if outcome is Outcome.NEUTRAL:
            return
        if self._state is BreakerState.CLOSED:
            self._settle_closed(outcome, now, subject)
        elif outcome is Outcome.FAILURE:
            self._open(now)
        else:
            self._count += 1
            if self._count >= self._policy.successes:
                self._change(BreakerState.CLOSED)

    def _settle_closed(self, outcome: Outcome, now: float, subject: str | None) -> None:
        if outcome is Outcome.SUCCESS:
            self._count = 0
            self._failed.clear()
        elif subject is None or subject not in self._failed:
            self._count += 1
            if subject is not None:
                self._failed.add(subject)
            if self._count >= self._policy.failures:
                self._open(now)

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self._state = state
        self._count = 0
        self._probing = False
        self._failed.clear()
        self._epoch += 1
