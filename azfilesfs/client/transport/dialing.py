"""New connections: directly or through an http proxy, under TLS where it is asked for.

Whatever ends an attempt, a cancellation too, closes its socket.
"""

from __future__ import annotations

import base64
import socket
import ssl
from dataclasses import dataclass
from typing import Final

import httpx
import trio

from azfilesfs.client.secret import Secret
from azfilesfs.client.transport.heads import AnswerHead, Origin, cut_head
from azfilesfs.client.transport.sockets import Connection

# The time for a whole attempt ends it; within that, no step is limited.
_NO_LIMIT: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An http proxy: where it is, and what it is told about us."""

    origin: Origin
    authorization: Secret | None


def proxy_of(given: httpx.Proxy) -> Proxy:
    """Return a proxy whose URL has been found to be one of http."""
    url = given.url
    origin = Origin(is_https=False, host=url.raw_host.decode("ascii"), port=url.port or 80)
    if given.raw_auth is None:
        return Proxy(origin, None)
    token = base64.b64encode(b":".join(given.raw_auth)).decode("ascii")
    return Proxy(origin, Secret(f"Basic {token}"))


class Dialer:
    """Makes connections."""

    def __init__(self, context: ssl.SSLContext | None, proxy: Proxy | None) -> None:
        """Take the settings of TLS, needed for https, and the proxy if there is one."""
        self._context = context
        self._proxy = proxy

    async def dial(self, origin: Origin, seconds: float) -> Connection:
        """Return a new connection to an origin, within so many seconds.

        Raises:
            httpx.ConnectTimeout: it was not made in time.
            httpx.ConnectError: it could not be made; the cause tells why.
            httpx.ProxyError: the proxy refused.
        """
        with trio.move_on_after(seconds):
            try:
                return await self._dial(origin)
            except (OSError, UnicodeError) as error:
                raise httpx.ConnectError(str(error)) from error
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
                raise httpx.ProxyError("the proxy broke the connection") from error
        raise httpx.ConnectTimeout(f"no connection within {seconds:g} s")

    async def _dial(self, origin: Origin) -> Connection:
        first = origin if self._proxy is None else self._proxy.origin
        connection = Connection(await _connected(first), origin)
        try:
            if self._proxy is not None:
                await _ask_through(connection, self._proxy)
            if origin.is_https:
                context = self._context
                if context is None:
                    raise httpx.UnsupportedProtocol("this transport speaks no https")
                await connection.secure(context, _NO_LIMIT)
        except BaseException:
            connection.close()
            raise
        return connection


async def _connected(origin: Origin) -> socket.socket:
    """Return a connected, non-blocking socket; of several addresses the first that answers."""
    stream = await trio.open_tcp_stream(origin.host, origin.port)
    # It is ours from here on: trio only tells when it is ready.
    connected = socket.socket(fileno=stream.socket.detach())
    connected.setblocking(False)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


async def _ask_through(connection: Connection, proxy: Proxy) -> None:
    """Have the proxy connect us to the origin of the connection."""
    authority = connection.origin.authority
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization.reveal()}")
    await connection.send("\r\n".join([*lines, "", ""]).encode("ascii"), _NO_LIMIT)
    received = b""
    while not (end := cut_head(received)):
        part = await connection.receive(_NO_LIMIT)
        if not part:
            raise httpx.ProxyError("the proxy closed the connection")
        received += part
    # A body would be the proxy's own page; with a success there is none.
    head = AnswerHead(received[:end], "HEAD")
    if not 200 <= head.status < 300:
        raise httpx.ProxyError(f"the proxy answered {head.status}")
    if len(received) > end:
        raise httpx.ProxyError("the proxy sent more than its answer")
