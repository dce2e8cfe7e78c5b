"""Any transport of httpx as ours: the emulator in this process, recordings, faults, httpcore."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

import httpx
import trio

from azfilesfs import errors
from azfilesfs.client.transport.failures import mapped, too_long
from azfilesfs.client.transport.messages import WireRequest
from azfilesfs.model.limits import KIB

_CLOSE_SECONDS: Final = 5.0
# One send of this size keeps the event loop for a fraction of a millisecond under TLS.
_SEND_BYTES: Final = 256 * KIB


async def open_through(inner: httpx.AsyncBaseTransport, request: WireRequest) -> SeamAnswer:
    """Send a request through a transport of httpx; the caller closes the answer.

    Raises:
        httpx.TransportError: as the transport has it.
        httpx.InvalidURL: the request has no valid URL.
        ProtocolError: the answer cannot be read.
    """
    response = await inner.handle_async_request(_to_httpx(request))
    try:
        return SeamAnswer(response, request.method)
    except BaseException:
        await _close(response, None)
        raise


class SeamAnswer:
    """The answer of a transport of httpx; its body is an iterator that checks the length."""

    def __init__(self, response: httpx.Response, method: str) -> None:
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise errors.ProtocolError("the transport gave an answer that cannot be read")
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.raw_headers = _raw(response)
        self._length = _content_length(response, method)
        self._received = 0
        self._response = response
        self._chunks = response.stream.__aiter__()
        self._done = False

    async def read(self, limit: int | None) -> bytes:
        """Return the whole body.

        Raises:
            ProtocolError: it is longer than ``limit``.
            IntegrityError: it is shorter than its Content-Length.
            NetworkError: it did not arrive.
        """
        if limit is not None and (self._length or 0) > limit:
            raise too_long(limit)
        parts: list[bytes] = []
        async for chunk in self:
            if limit is not None and self._received > limit:
                raise too_long(limit)
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def aclose(self) -> None:
        """Close it, whatever state it is in; shielded, for a few seconds at most."""
        await _close(self._response, self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with mapped(reading=True):
            try:
                chunk = await self._chunks.__anext__()
            except StopAsyncIteration:
                self._done = True
                self._check_end()
                raise
            except BaseException:
                self._done = True
                raise
        self._received += len(chunk)
        if self._length is not None and self._received > self._length:
            raise errors.IntegrityError("the answer's body is longer than its Content-Length")
        return chunk

    def _check_end(self) -> None:
        """Check that everything announced has arrived."""
        if self._length is not None and self._received != self._length:
            raise errors.IntegrityError(
                f"the answer's body ended after {self._received} of {self._length} bytes",
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


async def _close(response: httpx.Response, answer: SeamAnswer | None) -> None:
    """Close an answer, whatever state it is in; a failure to do so is of no interest any more."""
    with trio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(httpx.TransportError, OSError):
        await response.aclose()
        if answer is not None:
            await answer.unwind()


def _to_httpx(request: WireRequest) -> httpx.Request:
    idle = request.idle_seconds
    headers = [
        (name.encode("ascii"), value.encode("utf-8")) for name, value in request.headers.items()
    ]
    return httpx.Request(
        request.method,
        request.url,
        headers=headers,
        stream=_Body(request.body),
        extensions={
            "timeout": {
                "connect": request.connect_seconds,
                "read": idle,
                "write": idle,
                "pool": request.connect_seconds,
            }
        },
    )


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
