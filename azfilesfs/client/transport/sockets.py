"""One connection: a non-blocking socket, plain or under OpenSSL, driven by trio.

OpenSSL reads and writes the socket itself, without a Python stream between: a record is one call.
Concurrency rule: a connection belongs to one task at a time; reading and writing yield to the other
tasks after a turn of some KiB. Closing is synchronous, so that no cancellation can interrupt it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import trio

from azfilesfs.client.transport.heads import Origin, has_final_answer
from azfilesfs.model.limits import KIB

# 128 KiB take about 0.1 ms under TLS.
_TURN_BYTES: Final = 128 * KIB
# Bodies are read in longer turns: while eight arrive, half as many turns save a tenth of the CPU,
# and what is answered from memory comes after 5.0 ms instead of 4.5 (medians).
_BODY_TURN_BYTES: Final = 256 * KIB
# One record of TLS.
_RECORD_BYTES: Final = 16 * KIB
# A body that the server does not take is interrupted this often to look for an early answer.
_LOOK_SECONDS: Final = 0.25

_WANTS_READ: Final = (ssl.SSLWantReadError, BlockingIOError)
_WANTS_WRITE: Final = (ssl.SSLWantWriteError, BlockingIOError)
_WANTS: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


class ConnectionCut(httpx.RemoteProtocolError):
    """A connection ended without the farewell of TLS: perhaps not where the server meant it to."""


class Connection:
    """A connected socket, with what was received and not used yet.

    Attributes:
        origin: where it leads.
        received: bytes that came with, or after, what was asked for.
        idle_since: when it was last given back, by trio's clock.
    """

    __slots__ = ("_socket", "_turn", "idle_since", "origin", "received")

    def __init__(self, connected: socket.socket, origin: Origin) -> None:
        """Take over a connected, non-blocking socket."""
        self._socket = connected
        self._turn = 0
        self.origin = origin
        self.received = b""
        self.idle_since = 0.0

    def close(self) -> None:
        """Close it at once; nobody may wait for it."""
        self._socket.close()

    def is_quiet(self) -> bool:
        """Tell whether an idle connection is still open, and nothing unasked has arrived on it."""
        if self.received:
            return False
        try:
            self._socket.recv(1)
        except _WANTS_READ:
            return True
        except OSError:
            return False
        # A byte, or the end.
        return False

    async def secure(self, context: ssl.SSLContext, idle: float) -> None:
        """Go over to TLS.

        Raises:
            ssl.SSLError: the handshake failed, or the certificate was refused.
            OSError: the connection broke.
            httpx.ReadTimeout: nothing happened for ``idle`` seconds.
        """
        secured = context.wrap_socket(
            self._socket,
            server_hostname=self.origin.host,
            do_handshake_on_connect=False,
            # A connection that ends without TLS's own farewell was cut.
            suppress_ragged_eofs=False,
        )
        self._socket = secured
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await self._wait(trio.lowlevel.wait_readable, idle, httpx.ReadTimeout)
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable, idle, httpx.WriteTimeout)
            else:
                return

    async def send(self, data: bytes | memoryview, idle: float) -> bool:
        """Send some bytes; return whether all of them went.

        False: the server answered instead of taking them; the beginning of its answer is in
        ``received``.

        Raises:
            httpx.WriteError: the connection broke.
            httpx.WriteTimeout: the server took nothing for ``idle`` seconds.
        """
        view, size = memoryview(data), len(data)
        send, sent = self._socket.send, 0
        while sent < size:
            turn_began, turn_ends = sent, min(sent + _TURN_BYTES, size)
            try:
                # OpenSSL takes one record a call: 64 calls for each MiB.
                while sent < turn_ends:
                    sent += send(view[sent:turn_ends])
            except _WANTS_WRITE:
                if await self._is_answered(idle):
                    return False
            except ssl.SSLWantReadError:
                await self._wait(trio.lowlevel.wait_readable, idle, httpx.WriteTimeout)
            except OSError as error:
                raise httpx.WriteError(str(error)) from error
            else:
                await self._take_turns(sent - turn_began)
        return True

    async def receive(self, idle: float) -> bytes:
        """Return what arrives next, or the rest of what has; nothing at the connection's end.

        Raises:
            httpx.ReadError: the connection broke.
            httpx.ReadTimeout: nothing arrived for ``idle`` seconds.
            ConnectionCut: it ended without the farewell of TLS, so perhaps too early.
        """
        if self.received:
            data, self.received = self.received, b""
            return data
        while True:
            try:
                data = self._socket.recv(_RECORD_BYTES)
            except _WANTS as error:
                await self._wait_to_receive(error, idle)
            except OSError as error:
                raise _broken(error) from error
            else:
                await self._take_turns(len(data))
                return data

    async def receive_into(self, view: memoryview, idle: float) -> None:
        """Fill a buffer.

        Raises:
            httpx.ReadError: the connection broke.
            httpx.ReadTimeout: nothing arrived for ``idle`` seconds.
            httpx.RemoteProtocolError: the connection ended before it was full.
        """
        filled = min(len(self.received), len(view))
        view[:filled] = self.received[:filled]
        self.received = self.received[filled:]
        receive, turn_ends = self._socket.recv_into, filled + _BODY_TURN_BYTES
        while filled < len(view):
            try:
                count = receive(view[filled:turn_ends])
            except _WANTS as error:
                await self._wait_to_receive(error, idle)
                turn_ends = filled + _BODY_TURN_BYTES
                continue
            except OSError as error:
                raise _broken(error) from error
            if not count:
                raise httpx.RemoteProtocolError("the connection ended within the body")
            filled += count
            if filled >= turn_ends:
                await trio.lowlevel.checkpoint()
                turn_ends = filled + _BODY_TURN_BYTES

    async def wait_for_answer(self, idle: float) -> None:
        """Wait until something may have arrived; also where the caller has not waited for long.

        Raises:
            httpx.ReadTimeout: nothing arrived for ``idle`` seconds.
        """
        is_pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0
        if self.received or is_pending:
            await trio.lowlevel.checkpoint()
        else:
            await self._wait(trio.lowlevel.wait_readable, idle, httpx.ReadTimeout)

    async def _take_turns(self, count: int) -> None:
        self._turn += count
        if self._turn >= _TURN_BYTES:
            self._turn = 0
            await trio.lowlevel.checkpoint()

    async def _wait_to_receive(self, error: OSError, idle: float) -> None:
        wait = trio.lowlevel.wait_readable
        if isinstance(error, ssl.SSLWantWriteError):
            wait = trio.lowlevel.wait_writable
        await self._wait(wait, idle, httpx.ReadTimeout)

    async def _wait(
        self,
        wait: Callable[[socket.socket], Awaitable[None]],
        idle: float,
        error: type[httpx.TimeoutException],
    ) -> None:
        self._turn = 0
        with trio.move_on_after(idle) as scope:
            await wait(self._socket)
        if scope.cancelled_caught:
            raise error(f"nothing happened for {idle:g} s")

    async def _is_answered(self, idle: float) -> bool:
        """Wait until the server takes more; True where it answers instead."""
        deadline = trio.current_time() + idle
        self._turn = 0
        while (now := trio.current_time()) < deadline:
            with trio.move_on_after(min(_LOOK_SECONDS, deadline - now)) as scope:
                await trio.lowlevel.wait_writable(self._socket)
            if not scope.cancelled_caught:
                return False
            try:
                part = self._socket.recv(_RECORD_BYTES)
            except _WANTS:
                continue
            except OSError as error:
                raise httpx.WriteError(str(error)) from error
            self.received += part
            if not part or has_final_answer(self.received):
                return True
        raise httpx.WriteTimeout(f"the server took nothing for {idle:g} s")


def _broken(error: OSError) -> httpx.TransportError:
    if isinstance(error, ssl.SSLEOFError):
        return ConnectionCut("the connection ended without the farewell of TLS")
    return httpx.ReadError(str(error))
