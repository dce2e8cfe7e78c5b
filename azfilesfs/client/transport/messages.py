"""What goes over the wire and comes back, apart from any HTTP library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """A signed request. ``url`` is complete and percent-encoded; it may contain a secret."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | bytearray | memoryview
    connect_seconds: float
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """An answer, read to its end.

    Attributes:
        status: HTTP status.
        headers: by name in any case; repeated ones joined by commas.
        raw_headers: names as spelled on the wire.
        body: the body as sent, never decompressed.
    """

    status: int
    headers: Mapping[str, str]
    raw_headers: tuple[tuple[str, str], ...]
    body: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class WireStream:
    """An answer whose body is still to be read, chunk by chunk."""

    status: int
    headers: Mapping[str, str]
    raw_headers: tuple[tuple[str, str], ...]
    chunks: AsyncIterator[bytes]


class OpenAnswer(Protocol):
    """What a transport has of an answer: the head, and a body that is still to be read.

    Reading raises what httpx raises, or errors of ours; iterating is the same piece by piece.
    """

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by name in any case; repeated ones joined by commas."""
        ...

    @property
    def raw_headers(self) -> tuple[tuple[str, str], ...]:
        """Names as spelled on the wire."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def read(self, limit: int | None) -> bytes | memoryview:
        """Return the whole body, which must not be longer than ``limit``."""
        ...

    async def aclose(self) -> None:
        """Give back or close what carries it; shielded, and without fail."""
        ...
