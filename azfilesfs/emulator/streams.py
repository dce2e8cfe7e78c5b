"""Streams that hand over received bytes in large pieces.

An upload of 4 MiB arrives as 256 TLS records; passing each of them through the layers of a server
on its own costs several times what decrypting it does.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

import trio

BATCH_BYTES: Final = 256 * 1024
_RECORD_BYTES: Final = 16 * 1024


class PlainStream:
    """A TCP connection, read in pieces of up to 256 KiB."""

    def __init__(self, transport: trio.SocketStream) -> None:
        self._transport = transport

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket."""
        return self._transport.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return at least one byte, or nothing at the end; ``max_bytes`` is ignored.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        return bytes(await self._transport.receive_some(BATCH_BYTES))

    async def send_all(self, data: bytes) -> None:
        """Send everything.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        await self._transport.send_all(data)

    async def send_eof(self) -> None:
        """End the sending direction."""
        await self._transport.send_eof()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.aclose()


class TlsStream:
    """The server's side of a TLS connection, decrypted in pieces of up to 256 KiB.

    It drives an ``ssl.SSLObject`` itself, since trio's own stream returns one record at a time. One
    task may receive while another sends.
    """

    def __init__(self, transport: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.transport_stream = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._send_lock = trio.Lock()

    async def do_handshake(self) -> None:
        """Agree on keys.

        Raises:
            trio.BrokenResourceError: the peer does not speak TLS, or refuses the certificate.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed(must_have_more=True)
            except ssl.SSLError as error:
                await self._flush()
                raise trio.BrokenResourceError from error
            else:
                await self._flush()
                return

    def selected_alpn_protocol(self) -> str | None:
        """Return what the handshake chose."""
        return self._tls.selected_alpn_protocol()

    async def _flush(self) -> None:
        async with self._send_lock:
            data = self._outgoing.read()
            if data:
                await self.transport_stream.send_all(data)

    async def _feed(self, *, must_have_more: bool = False) -> None:
        data = await self.transport_stream.receive_some(BATCH_BYTES)
        if data:
            self._incoming.write(data)
        elif must_have_more:
            raise trio.BrokenResourceError
        else:
            self._incoming.write_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return at least one byte, or nothing at the end; ``max_bytes`` is ignored.

        Raises:
            trio.BrokenResourceError: the connection broke, or what arrived is not TLS.
        """
        while True:
            parts = self._drain()
            if parts is None:
                return b""
            if parts:
                await trio.lowlevel.checkpoint()
                return parts[0] if len(parts) == 1 else b"".join(parts)
            await self._flush()
            await self._feed()

    def _drain(self) -> list[bytes] | None:
        """Decrypt what is there; None at the end of the connection."""
        parts: list[bytes] = []
        total = 0
        while total < BATCH_BYTES:
            try:
                part = self._tls.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return parts or None
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
            if not part:
                return parts or None
            parts.append(part)
            total += len(part)
        return parts

    async def send_all(self, data: bytes) -> None:
        """Send everything.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        view = memoryview(data)
        while view:
            try:
                written = self._tls.write(view[:BATCH_BYTES])
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
            view = view[written:]
            await self._flush()

    async def aclose(self) -> None:
        """Close the connection, telling the peer where that is possible at once.

        Also when cancelled, the socket is closed.
        """
        with suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        try:
            with trio.move_on_after(1, shield=True):
                await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await self.transport_stream.aclose()
