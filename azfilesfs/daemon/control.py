"""The control socket of a mount: what commands ask the process that serves it.

A Unix socket in the state directory, which no other mount uses while this one runs. One line of
JSON asks, one JSON document answers, then the connection ends. Only the user of the mount and root
are answered.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from azfilesfs.vfs.locks.about import LockRow, row_document, row_from

_log = logging.getLogger(__name__)

CONTROL: Final = "control"
SECONDS: Final = 5.0
"""A connection's whole life, on either side."""

_REQUEST_BYTES: Final = 4096
_ANSWER_BYTES: Final = 16 << 20
_ROWS: Final = 10_000
_CONNECTIONS: Final = 16
_PRIVATE: Final = 0o600
_CREDENTIALS: Final = struct.Struct("3i")


class LockSource(Protocol):
    """Who knows the locks of a mount."""

    def lock_rows(self) -> list[LockRow]:
        """Return what its processes hold and wait for."""

    def lock_session(self) -> str | None:
        """Return the id of the session that lives now, None where none was begun."""


class KernelLocks:
    """The locks of a mount that leaves them to the kernel, which does not tell of them."""

    def lock_rows(self) -> list[LockRow]:
        """Return those that are known: none."""
        return []

    def lock_session(self) -> str | None:
        """Return the session: there is none."""
        return None


@dataclass(frozen=True, slots=True)
class MountLocks:
    """What a mount says of its locks.

    Attributes:
        omitted: how many more there are than were told.
    """

    session: str | None
    rows: tuple[LockRow, ...]
    omitted: int = 0


class NotAnswering(Exception):
    """A mount's process cannot be asked, or gave no answer that can be understood."""


async def serve_control(
    directory: Path,
    source: LockSource,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled. ``directory`` is the mount's own state directory.

    A mount whose socket cannot be made works without it, which is logged. Cancellation removes the
    socket.
    """
    try:
        listener = await _listen(directory)
    except OSError as error:
        _log.warning("%s cannot be made: %s", directory / CONTROL, error.strerror or error)
        task_status.started()
        return
    served = _Server(source)
    try:
        task_status.started()
        await trio.serve_listeners(served.connection, [listener])
    finally:
        with suppress(OSError):
            (directory / CONTROL).unlink()


async def ask_locks(directory: Path) -> MountLocks:
    """Ask the process that serves a mount, by its state directory, for its locks.

    Raises:
        NotAnswering: there is none, it does not answer in time, or not as it should.
    """
    document = await _ask(directory, {"request": "locks"})
    session, rows, omitted = (document.get(name) for name in ("session", "rows", "omitted"))
    if not (session is None or isinstance(session, str)) or not isinstance(rows, list):
        raise NotAnswering("the answer is none that is known")
    if not isinstance(omitted, int) or isinstance(omitted, bool):
        raise NotAnswering("the answer is none that is known")
    found = [row_from(row) for row in rows]
    known = tuple(row for row in found if row is not None)
    return MountLocks(session, known, omitted + len(found) - len(known))


@contextmanager
def _reachable(directory: Path) -> Iterator[str]:
    """Return the socket's path by a detour that is short: the kernel takes 107 bytes at most."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{CONTROL}"
    finally:
        os.close(descriptor)


async def _listen(directory: Path) -> trio.SocketListener:
    made = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reachable(directory) as address:
            # Whoever left one there is dead: the directory is ours alone.
            (directory / CONTROL).unlink(missing_ok=True)
            await made.bind(address)
            # Nobody can connect before listen.
            os.chmod(address, _PRIVATE)
        made.listen(_CONNECTIONS)
    except BaseException:
        made.close()
        raise
    return trio.SocketListener(made)


class _Server:
    """Answers connections, a bounded number at a time; none of them can end it."""

    def __init__(self, source: LockSource) -> None:
        self._source = source
        self._connections = 0

    async def connection(self, stream: trio.SocketStream) -> None:
        """Answer one connection."""
        async with stream:
            if self._connections >= _CONNECTIONS or not _is_permitted(stream):
                return
            self._connections += 1
            try:
                with trio.move_on_after(SECONDS), suppress(trio.BrokenResourceError):
                    line = await _line(stream)
                    await stream.send_all(json.dumps(self._answer(line)).encode())
            finally:
                self._connections -= 1

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            document = json.loads(line)
            request = document.get("request")
        except (ValueError, AttributeError, RecursionError):
            return {"error": "the request is no JSON object"}
        if request != "locks":
            return {"error": "the request is none that is known"}
        try:
            rows = self._source.lock_rows()
            session = self._source.lock_session()
        except Exception:  # noqa: BLE001  # the mount must live on; its log says what it was
            _log.exception("the locks of this mount cannot be told")
            return {"error": "internal error; the mount's log says more"}
        told = [row_document(row) for row in rows[:_ROWS]]
        return {"session": session, "rows": told, "omitted": len(rows) - len(told)}


def _is_permitted(stream: trio.SocketStream) -> bool:
    data = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return uid in {0, os.getuid()}


async def _line(stream: trio.SocketStream) -> bytes:
    """Return the first line; what is too long, or ends before, is returned as far as it came."""
    data = b""
    while b"\n" not in data and len(data) <= _REQUEST_BYTES:
        more = await stream.receive_some(_REQUEST_BYTES)
        if not more:
            break
        data += more
    return data.partition(b"\n")[0][:_REQUEST_BYTES]


async def _ask(directory: Path, request: dict[str, str]) -> dict[str, Any]:
    try:
        with trio.fail_after(SECONDS):
            document = json.loads(await _exchange(directory, json.dumps(request).encode() + b"\n"))
    except OSError as error:
        raise NotAnswering(error.strerror or str(error)) from None
    except (trio.TooSlowError, trio.BrokenResourceError):
        raise NotAnswering("it does not answer") from None
    except (ValueError, RecursionError):
        raise NotAnswering("the answer is no JSON") from None
    if not isinstance(document, dict):
        raise NotAnswering("the answer is none that is known")
    if "error" in document:
        raise NotAnswering(str(document["error"]))
    return document


async def _exchange(directory: Path, request: bytes) -> bytes:
    data = bytearray()
    with _reachable(directory) as address:
        stream = await trio.open_unix_socket(address)
    async with stream:
        await stream.send_all(request)
        async for piece in stream:
            data += piece
            if len(data) > _ANSWER_BYTES:
                raise NotAnswering("the answer is too long")
    return bytes(data)
