"""Sending one request and reading its answer, whatever carries them.

Called by the pipeline alone. Concurrency rule: a token of the limiter is held from before the HTTP
library is called until the answer has been read and closed; releasing it is synchronous, closing an
answer is shielded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import trio

from azfilesfs.client.transport.failures import mapped
from azfilesfs.client.transport.fast import FastTransport
from azfilesfs.client.transport.messages import OpenAnswer, WireAnswer, WireRequest, WireStream
from azfilesfs.client.transport.seam import open_through


class Transport:
    """Sends requests over at most ``max_connections`` connections."""

    def __init__(self, inner: httpx.AsyncBaseTransport, max_connections: int) -> None:
        """Wrap an httpx transport, which the caller keeps and closes.

        Our own takes requests without the detour over those of httpx.
        """
        self._inner = inner
        self._limiter = trio.CapacityLimiter(max_connections)

    @property
    def busy(self) -> int:
        """Requests in flight now."""
        return int(self._limiter.borrowed_tokens)

    async def send(self, request: WireRequest, body_limit: int | None) -> WireAnswer:
        """Send a request and read its whole answer.

        A cancellation leaves neither a token nor a connection behind.

        Raises:
            NetworkError: no complete answer arrived; ``may_have_been_applied`` is False where
                nothing was sent.
            IntegrityError: the body is shorter than its Content-Length.
            ProtocolError: the answer is not HTTP, or its body is longer than ``body_limit``.
            InvalidRequest: the request cannot be sent as it is.
        """
        # A token of its own for each request: one task may hold several streams.
        borrower = object()
        await self._limiter.acquire_on_behalf_of(borrower)
        try:
            with mapped():
                answer = await self._open(request)
            try:
                with mapped(reading=True):
                    body = await answer.read(body_limit)
            finally:
                await answer.aclose()
            return WireAnswer(answer.status, answer.headers, answer.raw_headers, body)
        finally:
            self._limiter.release_on_behalf_of(borrower)

    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[WireStream]:
        """Send a request and hand out its answer before the body.

        The token is held until the block ends.

        Raises:
            As ``send``; the iteration over the chunks raises them too.
        """
        borrower = object()
        await self._limiter.acquire_on_behalf_of(borrower)
        try:
            with mapped():
                answer = await self._open(request)
            try:
                chunks = _Mapped(answer)
                yield WireStream(answer.status, answer.headers, answer.raw_headers, chunks)
            finally:
                await answer.aclose()
        finally:
            self._limiter.release_on_behalf_of(borrower)

    async def _open(self, request: WireRequest) -> OpenAnswer:
        if isinstance(self._inner, FastTransport):
            return await self._inner.open(request)
        return await open_through(self._inner, request)


class _Mapped(AsyncIterator[bytes]):
    """The chunks of an answer; what breaks them off is an error of ours."""

    def __init__(self, chunks: OpenAnswer) -> None:
        self._chunks = chunks

    async def __anext__(self) -> bytes:
        with mapped(reading=True):
            return await self._chunks.__anext__()
