"""The network transport of this project: kept connections, and answers read straight into place.

Concurrency rule: a connection is either in the list of idle ones or belongs to one request; it
changes hands in synchronous steps. Whatever interrupts a request, its connection is closed at
once, as something of the answer may still be under way on it. Nothing is sent twice here: whether a
request may be repeated is for the pipeline to decide. How many requests there are at once is for
the caller to limit.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from typing import Final

import httpx
import trio

from azfilesfs.client.transport.dialing import Dialer
from azfilesfs.client.transport.failures import too_long
from azfilesfs.client.transport.heads import (
    AnswerHead,
    Chunks,
    Origin,
    cut_head,
    request_head,
    split_url,
)
from azfilesfs.client.transport.messages import WireRequest
from azfilesfs.client.transport.sockets import Connection, ConnectionCut
from azfilesfs.model.buffers import RANGES
from azfilesfs.model.limits import KIB, MIB, RANGE_BYTES

_KEEPALIVE_SECONDS: Final = 60.0
# A body of up to this size travels with its head, in one record of TLS.
_TOGETHER_BYTES: Final = 16 * KIB
# What is handed out at once of a body that is streamed.
_PIECE_BYTES: Final = 128 * KIB
# An announced length is believed up to here; beyond it memory is taken as the bytes arrive.
_BELIEVED_BYTES: Final = 64 * MIB
_INTERIM_ANSWERS: Final = 16
_PARTIAL: Final = 206


class FastTransport(httpx.AsyncBaseTransport):
    """An httpx transport over non-blocking sockets.

    ``open`` is the short way, which ``Transport`` takes; ``handle_async_request`` is the same for
    whoever knows httpx alone.
    """

    def __init__(self, dialer: Dialer) -> None:
        """Take what makes connections."""
        self._dialer = dialer
        self._idle: list[Connection] = []
        self._in_use = 0

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are idle, and how many belong to a request."""
        return len(self._idle), self._in_use

    async def open(self, request: WireRequest) -> FastAnswer:
        """Send a request on an idle connection or a new one; the answer's body is still to be read.

        The caller closes the answer.

        Raises:
            httpx.TransportError: it could not be sent, or no answer arrived.
            httpx.InvalidURL: the request has no valid URL.
        """
        origin, target = split_url(request.url)
        body = memoryview(request.body).cast("B")
        head = request_head(request.method, target, origin, request.headers, len(body))
        connection = self._take(origin)
        self._in_use += 1
        try:
            if connection is None:
                connection = await self._dialer.dial(origin, request.connect_seconds)
            is_sent, failure = await _send(connection, head, body, request.idle_seconds)
            try:
                answer = await _final_head(connection, request)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if failure is not None:
                    raise failure from None
                raise
        except BaseException:
            self._in_use -= 1
            if connection is not None:
                connection.close()
            raise
        return FastAnswer(self, connection, answer, request.idle_seconds, keeps=is_sent)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of httpx.

        Raises:
            httpx.TransportError: as ``open``.
        """
        seconds = request.extensions.get("timeout", {})
        connect, idle = seconds.get("connect"), seconds.get("read")
        netloc = request.url.netloc.decode("ascii")
        answer = await self.open(
            WireRequest(
                method=request.method,
                url=f"{request.url.scheme}://{netloc}{request.url.raw_path.decode('ascii')}",
                headers=request.headers,
                body=await request.aread(),
                connect_seconds=connect if connect is not None else float("inf"),
                idle_seconds=idle if idle is not None else float("inf"),
            )
        )
        pairs = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.raw_headers
        ]
        return httpx.Response(answer.status, headers=pairs, stream=_Stream(answer))

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed with their answers."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self, origin: Origin) -> Connection | None:
        """Return the youngest usable connection, None where there is none."""
        oldest = trio.current_time() - _KEEPALIVE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).close()
        while self._idle:
            connection = self._idle.pop()
            if connection.origin == origin and connection.is_quiet():
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection, *, keeps: bool) -> None:
        """Keep a connection whose answer has been closed, if it can be used again."""
        self._in_use -= 1
        if keeps and not connection.received:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
        else:
            connection.close()


class FastAnswer:
    """An answer whose body is still to be read, either as a whole or piece by piece.

    Attributes:
        status: HTTP status.
        headers: by name in any case.
        raw_headers: names as spelled on the wire.
    """

    def __init__(
        self,
        pool: FastTransport,
        connection: Connection,
        head: AnswerHead,
        idle: float,
        *,
        keeps: bool,
    ) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self.raw_headers = tuple(head.raw_headers)
        self._pool = pool
        self._connection = connection
        self._idle = idle
        self._keeps = keeps and head.keeps
        self._left = head.length
        self._chunks = Chunks(head.text) if head.is_chunked else None
        self._is_closed = False

    async def read(self, limit: int | None) -> bytes | memoryview:
        """Return the whole body; a whole range of a file as a view of memory that is used again.

        Raises:
            ProtocolError: it is longer than ``limit``.
            httpx.TransportError: it did not arrive.
        """
        if self._left is None or self._left > _BELIEVED_BYTES:
            return await self._read_parts(limit)
        if limit is not None and self._left > limit:
            raise too_long(limit)
        if self.status == _PARTIAL and self._left == RANGE_BYTES:
            return await self._take_range()
        return await self._take(self._left)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._next()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Give the connection back, or close it where something may still be under way on it."""
        if not self._is_closed:
            self._is_closed = True
            is_done = self._left == 0 if self._chunks is None else self._chunks.is_clean
            self._pool.give_back(self._connection, keeps=self._keeps and is_done)

    async def _read_parts(self, limit: int | None) -> bytes:
        parts: list[bytes] = []
        size = self._left or 0
        if limit is not None and size > limit:
            raise too_long(limit)
        received = 0
        while piece := await self._next():
            received += len(piece)
            if limit is not None and received > limit:
                raise too_long(limit)
            parts.append(piece)
        return b"".join(parts)

    async def _next(self) -> bytes:
        """Return the next piece of the body, nothing at its end."""
        if self._left is not None:
            return await self._take(min(self._left, _PIECE_BYTES))
        if self._chunks is not None:
            return await self._next_chunk(self._chunks)
        return await self._connection.receive(self._idle)

    async def _next_chunk(self, chunks: Chunks) -> bytes:
        piece = b""
        while not piece and not chunks.is_complete:
            data = await self._connection.receive(self._idle)
            if not data:
                raise httpx.RemoteProtocolError("the connection ended within the body")
            piece = chunks.feed(data)
        return piece

    async def _take_range(self) -> memoryview:
        view = RANGES.lend()
        await self._connection.receive_into(view, self._idle)
        self._left = 0
        return view.toreadonly()

    async def _take(self, count: int) -> bytes:
        """Return so many bytes of a body of known length."""
        if not count:
            return b""
        # The bytes object is filled in place: nobody else has it yet, and the BytesIO hands it out
        # without a copy once its buffer has been released.
        store = io.BytesIO(bytes(count))
        with store.getbuffer() as view:
            await self._connection.receive_into(view, self._idle)
        self._left = (self._left or 0) - count
        return store.getvalue()


class _Stream(httpx.AsyncByteStream):
    """The body of an answer as httpx has it."""

    def __init__(self, answer: FastAnswer) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer

    async def aclose(self) -> None:
        await self._answer.aclose()


async def _send(
    connection: Connection, head: bytes, body: memoryview, idle: float
) -> tuple[bool, httpx.WriteError | None]:
    """Send a request; return whether all of it went, and why not where the connection broke.

    A server that closes the connection may have answered before.
    """
    try:
        if len(head) + len(body) <= _TOGETHER_BYTES:
            return await connection.send(head + body, idle), None
        return await connection.send(head, idle) and await connection.send(body, idle), None
    except httpx.WriteError as error:
        return False, error


async def _final_head(connection: Connection, request: WireRequest) -> AnswerHead:
    """Read the head of an answer; interim ones (1xx) are passed over."""
    for _ in range(_INTERIM_ANSWERS):
        head = await _read_head(connection, request)
        if head.status >= 200:
            return head
    raise httpx.RemoteProtocolError("there is no end of interim answers")


async def _read_head(connection: Connection, request: WireRequest) -> AnswerHead:
    await connection.wait_for_answer(request.idle_seconds)
    received = b""
    while not (end := cut_head(received)):
        try:
            part = await connection.receive(request.idle_seconds)
        except ConnectionCut:
            # A head shows by itself whether it is whole.
            part = b""
        if not part and not received:
            raise httpx.RemoteProtocolError("Server disconnected without an answer")
        if not part:
            raise httpx.RemoteProtocolError("the connection ended within the head")
        received += part
    connection.received = received[end:]
    return AnswerHead(received[:end], request.method)
