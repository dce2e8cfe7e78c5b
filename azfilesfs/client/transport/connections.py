"""Connections to the service, kept between requests.

The pool of httpcore loses places for good when requests are cancelled while they wait for a
connection, make one or take one over, so connections are kept here and only made by httpcore.
Concurrency rule: a connection is either in the list of idle ones or belongs to one request; it
changes hands in synchronous steps. Whatever interrupts a request, its connection is closed,
shielded. How many there are at once is for the caller to limit."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import httpcore
import httpx
import trio

_KEEPALIVE_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 5.0


class _Stream(httpcore.AsyncNetworkStream):
    """A socket of httpcore that is closed also where a TLS handshake is cancelled."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        return self._inner.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    """Makes sockets under trio."""

    def __init__(self) -> None:
        self._inner = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(
            await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class ConnectionPool(httpx.AsyncBaseTransport):
    """An httpx transport over connections of httpcore."""

    def __init__(self, factory: httpcore.AsyncConnectionPool) -> None:
        """Take what makes connections; of it nothing else is used."""
        self._factory = factory
        self._idle: list[httpcore.AsyncConnectionInterface] = []
        self._in_use = 0

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are idle, and how many belong to a request."""
        return len(self._idle), self._in_use

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on an idle connection or a new one; the answer's body is still to be read.

        Raises:
            httpx.TransportError: it could not be sent, or no answer arrived.
        """
        sent = _to_core(request)
        connection, stale = self._take(sent.url.origin)
        self._in_use += 1
        try:
            for old in stale:
                await _discard(old)
            with _as_httpx():
                answer = await connection.handle_async_request(sent)
            stream = answer.stream
            if not isinstance(stream, AsyncIterable):
                raise httpx.RemoteProtocolError("the answer has no body to read")
        except BaseException:
            self._in_use -= 1
            await _discard(connection)
            raise
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer, stream, connection, self),
        )

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed with their answers."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await _discard(connection)

    def _take(
        self, origin: httpcore.Origin
    ) -> tuple[httpcore.AsyncConnectionInterface, list[httpcore.AsyncConnectionInterface]]:
        """Return the youngest usable connection, or a new one, and those to be closed."""
        stale = []
        if self._idle and self._idle[0].has_expired():
            stale.append(self._idle.pop(0))
        while self._idle:
            connection = self._idle.pop()
            if connection.can_handle_request(origin) and not connection.has_expired():
                return connection, stale
            stale.append(connection)
        return self._factory.create_connection(origin), stale

    async def give_back(self, connection: httpcore.AsyncConnectionInterface) -> None:
        """Keep a connection whose answer has been closed, if it can be used again."""
        self._in_use -= 1
        if connection.is_idle() and not connection.is_closed():
            self._idle.append(connection)
        else:
            await _discard(connection)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which gives the connection back when it is closed."""

    def __init__(
        self,
        answer: httpcore.Response,
        chunks: AsyncIterable[bytes],
        connection: httpcore.AsyncConnectionInterface,
        pool: ConnectionPool,
    ) -> None:
        self._answer = answer
        self._chunks = chunks
        self._connection = connection
        self._pool = pool
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._chunks:
                yield chunk

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        with trio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(*_CLOSE_ERRORS):
            await self._answer.aclose()
        await self._pool.give_back(self._connection)


async def _discard(connection: httpcore.AsyncConnectionInterface) -> None:
    """Close a connection, whatever state it is in; failing to is of no interest any more."""
    with trio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(*_CLOSE_ERRORS):
        await connection.aclose()


_CLOSE_ERRORS: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    OSError,
)
_ERRORS: Final[Mapping[type[Exception], type[httpx.TransportError]]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.ProtocolError: httpx.ProtocolError,
    # It was given back between our look at it and its use: nothing was sent.
    httpcore.ConnectionNotAvailable: httpx.ConnectError,
}


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Turn what httpcore raises into the httpx error of that name, chained."""
    try:
        yield
    except tuple(_ERRORS) as error:
        target = next(_ERRORS[cls] for cls in type(error).__mro__ if cls in _ERRORS)
        raise target(str(error)) from error


def _to_core(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def stock_transport(context: ssl.SSLContext | None, proxy: httpx.Proxy | None) -> ConnectionPool:
    """Return a transport over connections of httpcore; the caller closes it with ``aclose``.

    Args:
        context: settings of TLS, None where only plain http is spoken.
        proxy: an http or https proxy to go through.
    """
    if proxy is None:
        return ConnectionPool(
            httpcore.AsyncConnectionPool(
                ssl_context=context,
                keepalive_expiry=_KEEPALIVE_SECONDS,
                network_backend=_Backend(),
            )
        )
    url = proxy.url
    return ConnectionPool(
        httpcore.AsyncHTTPProxy(
            proxy_url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            proxy_auth=proxy.raw_auth,
            ssl_context=context,
            proxy_ssl_context=httpx.create_ssl_context() if url.scheme == "https" else None,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=_Backend(),
        )
    )
