"""How long an operation may take, by its class (specification 6.3). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Budget(Enum):
    """The class of an operation that decides its deadline."""

    SMALL = "small"
    TRANSFER = "transfer"
    LEASE = "lease"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """Seconds that an operation may take in all, and that one attempt may stand still.

    Attributes:
        small: properties, directories, listings, renames.
        transfer: reads and writes of ranges and whole files.
        lease: lease operations.
        connect: for the connection and the TLS handshake of one attempt.
        idle: one attempt may be without a byte in either direction for this long, then it is given
            up; shorter where the operation's whole time would leave no room for a second attempt.
    """

    small: float = 30.0
    transfer: float = 300.0
    lease: float = 10.0
    connect: float = 5.0
    idle: float = 15.0

    def __post_init__(self) -> None:
        if min(self.small, self.transfer, self.lease, self.connect, self.idle) <= 0:
            raise ValueError("every timeout must be positive")

    def seconds(self, budget: Budget) -> float:
        """Return the deadline of an operation of that class, in seconds from its start."""
        if budget is Budget.SMALL:
            return self.small
        return self.transfer if budget is Budget.TRANSFER else self.lease

    def idle_seconds(self, budget: Budget, *, repeatable: bool) -> float:
        """Return how long one attempt may stand still.

        Half of the deadline at most where it can be repeated.
        """
        whole = self.seconds(budget)
        return min(self.idle, whole / 2) if repeatable else whole
