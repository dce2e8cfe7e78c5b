"""Sending one request and reading its answer, whatever carries them.

Called by the pipeline alone. Concurrency rule: a token of the limiter is held from before the HTTP
library is called until the answer has been read and closed; releasing it is synchronous, closing an
answer is shielded.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import httpx
import trio

from azfilesfs import errors
from azfilesfs.client.secret import redact
from azfilesfs.client.transport.messages import WireAnswer, WireRequest, WireStream
from azfilesfs.model.limits import KIB

_CLOSE_SECONDS: Final = 5.0
# One send of this size keeps the event loop for a fraction of a millisecond under TLS.
_SEND_BYTES: Final = 256 * KIB


class _Body(httpx.AsyncByteStream):
    """A body in pieces, so that a large one does not hold the event loop."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self._view)


class _Pieces(AsyncIterator[bytes]):
    """The pieces of a body; not an async generator, which a broken send would leave unfinished."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._sent = 0

    async def __anext__(self) -> bytes:
        piece = bytes(self._view[self._sent : self._sent + _SEND_BYTES])
        if not piece:
            raise StopAsyncIteration
        self._sent += len(piece)
        return piece


class Transport:
    """Sends requests over at most ``max_connections`` connections."""

    def __init__(self, inner: httpx.AsyncBaseTransport, max_connections: int) -> None:
        """Wrap an httpx transport, which the caller keeps and closes."""
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
        """
        async with self._answer(request) as reader:
            if body_limit is not None and (reader.length or 0) > body_limit:
                raise _too_long(body_limit)
            parts: list[bytes] = []
            async for chunk in reader:
                if body_limit is not None and reader.received > body_limit:
                    raise _too_long(body_limit)
                parts.append(chunk)
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            return WireAnswer(reader.status, reader.headers, reader.raw_headers, body)

    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[WireStream]:
        """Send a request and hand out its answer before the body.

        The token is held until the block ends.

        Raises:
            As ``send``; the iteration over the chunks raises them too.
        """
        async with self._answer(request) as reader:
            yield WireStream(reader.status, reader.headers, reader.raw_headers, reader)

    @asynccontextmanager
    async def _answer(self, request: WireRequest) -> AsyncIterator[_Reader]:
        # A token of its own for each request: one task may hold several streams.
        borrower = object()
        await self._limiter.acquire_on_behalf_of(borrower)
        try:
            with _mapped():
                response = await self._inner.handle_async_request(_to_httpx(request))
            reader: _Reader | None = None
            try:
                reader = _Reader(response, request.method)
                yield reader
            finally:
                await _close(response, reader)
        finally:
            self._limiter.release_on_behalf_of(borrower)


class _Reader:
    """The body of an answer as an iterator of chunks that checks the length."""

    def __init__(self, response: httpx.Response, method: str) -> None:
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise errors.ProtocolError("the transport gave an answer that cannot be read")
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.raw_headers = _raw(response)
        self.length = _content_length(response, method)
        self.received = 0
        self._chunks = response.stream.__aiter__()
        self._done = False

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> bytes:
        with _mapped(reading=True):
            try:
                chunk = await self._chunks.__anext__()
            except StopAsyncIteration:
                self._done = True
                self._check_end()
                raise
            except BaseException:
                self._done = True
                raise
        self.received += len(chunk)
        if self.length is not None and self.received > self.length:
            raise errors.IntegrityError("the answer's body is longer than its Content-Length")
        return chunk

    def _check_end(self) -> None:
        """Check that everything announced has arrived."""
        if self.length is not None and self.received != self.length:
            raise errors.IntegrityError(
                f"the answer's body ended after {self.received} of {self.length} bytes",
                may_have_been_applied=True,
            )

    async def unwind(self) -> None:
        """End the iteration of an answer that was closed before its end.

        The layers below are nested asynchronous generators, which complain when they are dropped
        half-way. Asking the closed answer for what it still has buffered, and then for more, ends
        all of them.
        """
        with suppress(Exception):
            while not self._done:
                await self.__anext__()


async def _close(response: httpx.Response, reader: _Reader | None) -> None:
    """Close an answer, whatever state it is in; a failure to do so is of no interest any more."""
    with trio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(httpx.TransportError, OSError):
        await response.aclose()
        if reader is not None:
            await reader.unwind()


def _to_httpx(request: WireRequest) -> httpx.Request:
    idle = request.idle_seconds
    body = request.body
    headers = [
        (name.encode("ascii"), value.encode("utf-8")) for name, value in request.headers.items()
    ]
    try:
        return httpx.Request(
            request.method,
            request.url,
            headers=headers,
            stream=_Body(body),
            extensions={
                "timeout": {
                    "connect": request.connect_seconds,
                    "read": idle,
                    "write": idle,
                    "pool": request.connect_seconds,
                }
            },
        )
    except httpx.InvalidURL:
        # Not chained: the cause's text may quote the URL.
        raise errors.InvalidRequest("the request has no valid URL") from None


def _raw(response: httpx.Response) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.decode("latin-1"), response.headers[name.decode("latin-1")])
        for name, _ in response.headers.raw
    )


def _content_length(response: httpx.Response, method: str) -> int | None:
    text = response.headers.get("content-length")
    if text is None or method == "HEAD" or response.status_code in {204, 304}:
        return None if method != "HEAD" else 0
    if not text.isascii() or not text.isdigit():
        raise errors.ProtocolError("the answer's Content-Length is not a number")
    return int(text)


def _too_long(limit: int) -> errors.ProtocolError:
    return errors.ProtocolError(f"the answer's body is longer than {limit} bytes")


@contextmanager
def _mapped(*, reading: bool = False) -> Iterator[None]:
    """Turn what httpx raises into our errors, chained."""
    try:
        yield
    except httpx.TransportError as error:
        raise _translate(error, reading=reading) from error
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise errors.ConnectionFailed(
            f"the connection broke: {redact(str(error))}", may_have_been_applied=True
        ) from error


def _translate(error: httpx.TransportError, *, reading: bool) -> errors.AzureFilesError:
    text = redact(str(error)) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return errors.Timeout("no connection within the time for it")
    if isinstance(error, httpx.PoolTimeout):
        return errors.ConnectionFailed("no connection was free")
    if isinstance(error, httpx.TimeoutException):
        return errors.Timeout("the connection stood still for too long", may_have_been_applied=True)
    if isinstance(error, (httpx.ConnectError, httpx.ProxyError)):
        return _connect_failure(error, text)
    if isinstance(error, httpx.RemoteProtocolError):
        return _protocol_failure(text, reading=reading)
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        return errors.InvalidRequest(f"the request cannot be sent: {type(error).__name__}")
    return errors.ConnectionFailed(f"the connection broke: {text}", may_have_been_applied=True)


def _connect_failure(error: BaseException, text: str) -> errors.AzureFilesError:
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return errors.DnsResolutionFailed(f"the host name does not resolve: {cause.strerror}")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return errors.TlsFailed(f"the certificate was refused: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return errors.TlsFailed(f"the TLS handshake failed: {cause.reason or text}")
    return errors.ConnectionFailed(f"no connection: {text}")


def _protocol_failure(text: str, *, reading: bool) -> errors.AzureFilesError:
    if text.startswith("Server disconnected"):
        return errors.ConnectionFailed(
            "the server closed the connection without an answer", may_have_been_applied=True
        )
    if reading:
        return errors.IntegrityError(
            "the connection was closed in the middle of the answer's body",
            may_have_been_applied=True,
        )
    return errors.ProtocolError(f"the answer is not HTTP: {text}", may_have_been_applied=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, and the members of groups on the way."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            pending.extend(current.exceptions)
        pending.extend(cause for cause in (current.__cause__, current.__context__) if cause)
