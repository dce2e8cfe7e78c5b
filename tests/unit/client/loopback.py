"""A server on a loopback socket that answers with whatever bytes a test wants."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

Stream = trio.abc.Stream
Handler = Callable[[Stream, bytes], Awaitable[bool]]


@dataclass
class Server:
    """Where it listens, and what happened there."""

    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


async def read_request(stream: Stream) -> tuple[bytes, bytes] | None:
    """Read one request: head and body; None where the connection ended before one."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.receive_some(65536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        part = await stream.receive_some(65536)
        if not part:
            return None
        body += part
    return head, body


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve on a free port; the handler answers and says whether to keep the connection."""
    server = Server()

    async def serve(stream: trio.SocketStream) -> None:
        server.connections += 1
        channel: Stream = (
            trio.SSLStream(stream, tls, server_side=True, https_compatible=True) if tls else stream
        )
        try:
            while (request := await read_request(channel)) is not None:
                server.heads.append(request[0])
                server.bodies.append(request[1])
                if not await handler(channel, request[0]):
                    break
        except trio.BrokenResourceError:
            return
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(channel)

    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        try:
            yield server
        except Exception as error:  # noqa: BLE001 - raised again outside the nursery
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def says(data: bytes, *, keep: bool = False) -> Handler:
    """Return a handler that sends these bytes."""

    async def handler(stream: Stream, _head: bytes) -> bool:
        await stream.send_all(data)
        return keep

    return handler
