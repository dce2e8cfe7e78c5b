"""The emulator on a socket: HTTP/1.1 by hypercorn's protocol, connections by trio."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState

from azfilesfs.emulator.app import ABORT_KEY, EmulatorApp
from azfilesfs.emulator.streams import PlainStream, TlsStream
from azfilesfs.model.limits import KIB

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 300
GRACE_SECONDS: Final = 2.0
_BACKLOG: Final = 512
_MAX_HEAD_BYTES: Final = 64 * KIB
_NO_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where to listen; port 0 lets the system choose. ``tls`` None serves plain http."""

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The URL of the root, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


async def serve(
    app: EmulatorApp,
    options: ServerOptions,
    *,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; requests in flight then get two seconds.

    Args:
        app: the emulator.
        options: where to listen.
        task_status: gets the address once connections are accepted.

    Raises:
        OSError: the address cannot be used.
    """
    listeners = await trio.open_tcp_listeners(options.port, host=options.host, backlog=_BACKLOG)
    bound = listeners[0].socket.getsockname()
    scheme = "http" if options.tls is None else "https"
    context = WorkerContext(None)
    handler = partial(_serve_connection, app, _config(), context, options.tls)
    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                await accepting.start(
                    partial(trio.serve_listeners, handler, listeners, handler_nursery=connections)
                )
                task_status.started(Address(scheme, bound[0], bound[1]))
        finally:
            connections.cancel_scope.shield = True
            connections.cancel_scope.deadline = trio.current_time() + GRACE_SECONDS
            # Idle connections close at once when they see this.
            await context.terminated.set()


def _config() -> Config:
    config = Config()
    config.include_date_header = False
    config.include_server_header = False
    config.h11_pass_raw_headers = True
    config.h11_max_incomplete_size = _MAX_HEAD_BYTES
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = 1 << 60
    config.errorlog = logging.getLogger(f"{__name__}.protocol")
    config.accesslog = None
    return config


class _Connection(TCPServer):
    """A connection that ends when its client does.

    hypercorn keeps the idle timer running after the last byte, and the socket open until it fires.
    """

    _has_ended = False

    async def _read_data(self) -> None:
        await super()._read_data()
        self._has_ended = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """Pass an event on, except the start of a timer that nothing would stop."""
        if isinstance(event, Updated) and event.idle and self._has_ended:
            return
        await super().protocol_send(event)


async def _serve_connection(
    app: EmulatorApp,
    config: Config,
    context: WorkerContext,
    tls: ssl.SSLContext | None,
    transport: trio.SocketStream,
) -> None:
    """Serve one connection to its end; whatever goes wrong with it stays with it."""
    stream = PlainStream(transport) if tls is None else TlsStream(transport, tls)
    state = ConnectionState(cast("LifespanState", {ABORT_KEY: _aborter(transport)}))
    try:
        await _Connection(
            ASGIWrapper(cast("ASGIFramework", app)),
            config,
            context,
            cast("LifespanState", state),
            cast("trio.SSLStream[trio.SocketStream]", stream),
        )
    except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
        logger.debug("a connection ended early: %r", group.exceptions)
    except* Exception:
        logger.exception("a connection failed")
    finally:
        await trio.aclose_forcefully(transport)


class Abort(Protocol):
    """Cuts a connection."""

    async def __call__(self, *, is_reset: bool) -> None:
        """Close at once, with a reset or after what was sent."""
        ...


def _aborter(transport: trio.SocketStream) -> Abort:
    async def abort(*, is_reset: bool) -> None:
        if is_reset:
            # Without lingering the peer gets a reset, as from a host that vanished and came back.
            transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        await trio.aclose_forcefully(transport)

    return abort
