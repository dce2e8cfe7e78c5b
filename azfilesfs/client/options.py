"""Settings of a client, and the hooks by which it tells what it does."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from azfilesfs.client.breaker import BreakerPolicy, BreakerState
from azfilesfs.client.retry import RetryPolicy
from azfilesfs.client.timeouts import TimeoutPolicy
from azfilesfs.client.transport import TransportKind
from azfilesfs.errors import AzureFilesError, ConfigurationError
from azfilesfs.model.versions import NEWEST, SERVICE_VERSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEvent:
    """One request as sent, or the whole operation that it belongs to.

    Attributes:
        operation: name as in the REST reference (``PutRange``).
        share: share name, None for the account.
        path: path in the share, fit to print.
        status: HTTP status of the answer, None where none arrived.
        error: what it failed with, None for success; ``cancelled`` tells a cancellation from
            success.
        seconds: from the start of the attempt (or of the operation) to its end.
        bytes_sent: bytes of the body sent.
        bytes_received: bytes of the body received.
        request_id: ``x-ms-request-id`` of the answer.
        attempt: number within the operation, from 1; in an operation's event the number of
            attempts.
        cancelled: whether the caller gave it up.
    """

    operation: str
    share: str | None
    path: str | None
    status: int | None
    error: AzureFilesError | None
    seconds: float
    bytes_sent: int
    bytes_received: int
    request_id: str | None
    attempt: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryEvent:
    """An operation is about to be repeated after ``delay`` seconds because of ``error``."""

    operation: str
    share: str | None
    path: str | None
    attempt: int
    delay: float
    error: AzureFilesError


class RequestObserver(Protocol):
    """What a client tells of its work; its methods must return at once and must not raise."""

    def attempt_finished(self, event: AttemptEvent) -> None:
        """Take note of one request, whatever became of it."""
        ...

    def operation_finished(self, event: AttemptEvent) -> None:
        """Take note of an operation with all its attempts."""
        ...

    def retrying(self, event: RetryEvent) -> None:
        """Take note that an operation is repeated."""
        ...

    def breaker_changed(self, state: BreakerState) -> None:
        """Take note of the breaker's new state."""
        ...

    def credentials_refreshed(self, *, changed: bool) -> None:
        """Take note that the credential was looked up anew after a refusal."""
        ...

    def version_changed(self, version: str) -> None:
        """Take note that the service refused the version, and which older one is used now."""
        ...


class NullObserver:
    """An observer that does nothing; subclass it to hear of some events only."""

    def attempt_finished(self, event: AttemptEvent) -> None:
        """Do nothing."""

    def operation_finished(self, event: AttemptEvent) -> None:
        """Do nothing."""

    def retrying(self, event: RetryEvent) -> None:
        """Do nothing."""

    def breaker_changed(self, state: BreakerState) -> None:
        """Do nothing."""

    def credentials_refreshed(self, *, changed: bool) -> None:
        """Do nothing."""

    def version_changed(self, version: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Settings of a client.

    Attributes:
        version: service version to begin with; the client steps down from it when the service
            refuses it.
        retry: when to repeat.
        breaker: when to hold back.
        timeouts: deadlines.
        max_connections: connections, and with them requests, in flight at once at most.
        max_requests: requests in flight at once, apart from those that are stalled: sent more than
            a second ago, and no answer has begun. It is the upper bound of a window that the
            service narrows by 503 and 429.
        limit_read, limit_write: bytes of files a second, None for no limit.
        limit_requests: requests a second, None for no limit.
        transport: who reads and writes the connections: this library itself, or httpx's, which is
            several times slower and serves to tell whose fault something is.
        ca_file: PEM file with certificate authorities to trust beside those of the system.
        observer: who hears of requests, retries and changes of state; None for nobody.

    Proxies come from the environment (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``); loopback
    addresses are never proxied.

    Raises:
        ConfigurationError: the version is not one that the client knows, or a number is not above
            0.
    """

    version: str = NEWEST
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    timeouts: TimeoutPolicy = field(default_factory=TimeoutPolicy)
    max_connections: int = 32
    max_requests: int = 32
    limit_read: float | None = None
    limit_write: float | None = None
    limit_requests: float | None = None
    transport: TransportKind = TransportKind.FAST
    ca_file: str | None = None
    observer: RequestObserver | None = None

    def __post_init__(self) -> None:
        if self.version not in SERVICE_VERSIONS:
            raise ConfigurationError(f"{self.version!r} is not a known service version")
        for name in ("max_connections", "max_requests"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1")
        for name in ("limit_read", "limit_write", "limit_requests"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < math.inf:
                raise ConfigurationError(f"{name} must be more than 0")
