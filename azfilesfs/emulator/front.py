"""The private socket to nginx: the HTTP/1.1 that nginx speaks to what it proxies, and no more.

nginx has checked the framing of every request, buffers bodies, and sends them with their length;
so a parser of a few lines is enough here, at a small part of what a general server costs.
"""

from __future__ import annotations

import http
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from azfilesfs.emulator.app import ABORT_KEY, EmulatorApp
from azfilesfs.emulator.offload import (
    BODY_HEADER,
    LENGTH_HEADER,
    PEER_HEADER,
    REQUEST_HEADERS,
    SCHEME_HEADER,
    OffloadDirectory,
    mapped,
)
from azfilesfs.emulator.request import OFFLOAD_KEY
from azfilesfs.model.limits import KIB

logger = logging.getLogger(__name__)

_BACKLOG: Final = 512
_RECEIVE_BYTES: Final = 256 * KIB
_MAX_HEAD_BYTES: Final = 128 * KIB
_REASONS: Final = {status.value: status.phrase.encode() for status in http.HTTPStatus}
_INTERNAL: Final = frozenset(name.encode() for name in REQUEST_HEADERS)


class NotHttp(Exception):
    """The peer does not speak as nginx does."""


async def serve_front(
    app: EmulatorApp,
    directory: OffloadDirectory,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve nginx on the private socket until cancelled; the socket is removed then.

    Raises:
        OSError: the directory or the socket cannot be used.
    """
    directory.prepare()
    path = os.fspath(directory.socket)
    if len(os.fsencode(path)) > 107:
        raise OSError(f"{path} is too long for the name of a socket")
    server = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await server.bind(path)
        server.listen(_BACKLOG)
        listener = trio.SocketListener(server)
        await trio.serve_listeners(
            partial(_serve_connection, app, directory), [listener], task_status=_Silent(task_status)
        )
    finally:
        server.close()
        directory.socket.unlink(missing_ok=True)


class _Silent:
    """Tells that serving has begun, without the listeners."""

    def __init__(self, status: trio.TaskStatus[None]) -> None:
        self._status = status

    def started(self, listeners: object = None) -> None:
        self._status.started()


async def _serve_connection(
    app: EmulatorApp, directory: OffloadDirectory, stream: trio.SocketStream
) -> None:
    """Serve one connection to its end; whatever goes wrong with it stays with it."""
    connection = _Connection(stream)
    try:
        while (head := await connection.read_head()) is not None:
            exchange = _Exchange(connection, directory, head)
            try:
                await exchange.read_request()
                await app(exchange.scope, exchange.receive, exchange.send)
            finally:
                exchange.forget_body()
            if connection.is_aborted:
                return
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, NotHttp) as error:
        logger.debug("a connection of the front ended early: %r", error)
    except Exception:
        logger.exception("a connection of the front failed")
    finally:
        await trio.aclose_forcefully(stream)


class _Connection:
    """Bytes in and out."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self.is_aborted = False

    async def read_head(self) -> bytes | None:
        """Return one head without its empty line; None at the end of the connection.

        Raises:
            NotHttp: it has no end.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise NotHttp("a head without an end")
            if not await self._fill():
                return None
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return head

    async def read_exactly(self, size: int) -> bytes:
        """Return that many bytes.

        Raises:
            NotHttp: the connection ends before.
        """
        while len(self._buffer) < size:
            if not await self._fill():
                raise NotHttp("a body that ends early")
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _fill(self) -> bool:
        data = await self._stream.receive_some(_RECEIVE_BYTES)
        self._buffer += data
        return bool(data)

    async def send(self, data: bytes) -> None:
        """Send everything."""
        await self._stream.send_all(data)

    async def abort(self, *, is_reset: bool) -> None:
        """Close at once; nginx then answers its client 502."""
        self.is_aborted = True
        await trio.aclose_forcefully(self._stream)


class _Exchange:
    """One request and its answer as ASGI has them."""

    def __init__(self, connection: _Connection, directory: OffloadDirectory, head: bytes) -> None:
        self._connection = connection
        self._directory = directory
        line, *fields = head.split(b"\r\n")
        method, _, rest = line.partition(b" ")
        target, _, protocol = rest.rpartition(b" ")
        if not protocol.startswith(b"HTTP/1."):
            raise NotHttp("a request line of another protocol")
        self._method = method.decode("latin-1")
        self._target = target
        self._fields = [_field(field) for field in fields]
        self._told = {
            name.lower().decode("latin-1"): value.decode("latin-1")
            for name, value in self._fields
            if name.lower() in _INTERNAL
        }
        self._body: bytes | memoryview = b""
        self._head_out: bytes | None = None
        self._is_chunked = False
        self.body_file: Path | None = None
        self.scope: dict[str, Any] = {}

    async def read_request(self) -> None:
        """Read the body, from the connection or from nginx's file, and fill the scope.

        Raises:
            NotHttp: the body is not as announced, or its file lies elsewhere.
        """
        lengths = (value for name, value in self._fields if name.lower() == b"content-length")
        length = next(lengths, b"0")
        if not length.isdigit():
            raise NotHttp("a length that is no number")
        self._body = await self._connection.read_exactly(int(length)) if length != b"0" else b""
        if self._told.get(BODY_HEADER):
            try:
                self.body_file = self._directory.body_file(self._told[BODY_HEADER])
            except ValueError as error:
                raise NotHttp(str(error)) from None
            self._body = mapped(self.body_file)
        self.scope = self._scope()

    def forget_body(self) -> None:
        """Remove the body's file, unless a content has taken it."""
        if self.body_file is not None:
            self.body_file.unlink(missing_ok=True)

    def _scope(self) -> dict[str, Any]:
        path, _, query = self._target.partition(b"?")
        hidden = {b"content-length", b"connection", *_INTERNAL}
        headers = [pair for pair in self._fields if pair[0].lower() not in hidden]
        length = self._told.get(LENGTH_HEADER)
        if length:
            headers.append((b"content-length", length.encode("latin-1")))
        return {
            "type": "http",
            "method": self._method,
            "scheme": self._told.get(SCHEME_HEADER, "https"),
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "client": (self._told.get(PEER_HEADER, ""), 0),
            "state": {ABORT_KEY: self._connection.abort, OFFLOAD_KEY: self.body_file},
        }

    async def receive(self) -> Mapping[str, Any]:
        """Return the whole body."""
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a part of the answer; the head goes together with the first bytes of the body."""
        if message["type"] == "http.response.start":
            self._head_out = self._answer_head(message["status"], message["headers"])
            return
        body, is_last = message.get("body", b""), not message.get("more_body")
        parts = [] if self._head_out is None else [self._head_out]
        self._head_out = None
        if self._is_chunked and body:
            parts += [b"%x\r\n" % len(body), body, b"\r\n"]
        elif self._method != "HEAD":
            parts.append(body)
        if self._is_chunked and is_last:
            parts.append(b"0\r\n\r\n")
        await self._connection.send(b"".join(parts))

    def _answer_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [b"HTTP/1.1 %d %s" % (status, _REASONS.get(status, b"Unknown"))]
        lines += [name + b": " + value for name, value in headers]
        has_length = any(name == b"content-length" for name, _ in headers)
        if not has_length and self._method != "HEAD":
            self._is_chunked = True
            lines.append(b"transfer-encoding: chunked")
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip(), value.strip()
