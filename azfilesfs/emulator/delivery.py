"""The two ends of an ASGI exchange: collecting a request's body, sending an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.faults import ConnectionCut
from azfilesfs.emulator.request import Body
from azfilesfs.model.limits import MIB, RANGE_BYTES

MAX_BODY_BYTES: Final = RANGE_BYTES + MIB
"""A 4 MiB range in a structured body is a little longer than 4 MiB."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Disconnected(Exception):
    """The client went away before its request was complete."""


async def read_body(receive: Receive, declared: int, cut_at: int | None = None) -> Body:
    """Collect a body into one buffer.

    Args:
        receive: the ASGI callable.
        declared: Content-Length, 0 where there is none.
        cut_at: stop with ``ConnectionCut`` after that many bytes.

    Raises:
        Disconnected: the client went away.
        ServiceError: RequestBodyTooLarge, once the body has passed by.
        ConnectionCut: ``cut_at`` was reached.
    """
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request" and cut_at is None:
        whole: bytes = message.get("body", b"")
        if len(whole) <= MAX_BODY_BYTES:
            return whole
    buffer = bytearray(min(declared, MAX_BODY_BYTES))
    filled, is_too_large = 0, False
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        end = filled + len(chunk)
        if end > MAX_BODY_BYTES:
            is_too_large = True
        else:
            if end > len(buffer):
                buffer.extend(bytes(end - len(buffer)))
            with memoryview(buffer) as view:
                view[filled:end] = chunk
            filled = end
        if cut_at is not None and filled >= cut_at:
            raise ConnectionCut("cut in the middle of the request")
        if not message.get("more_body"):
            break
        message = await receive()
    if is_too_large:
        raise ServiceError("RequestBodyTooLarge", extras={"MaxLimit": str(RANGE_BYTES)})
    del buffer[filled:]
    return buffer


async def send_answer(
    send: Send, common: list[tuple[str, str]], answer: Answer, cut_after: int | None = None
) -> None:
    """Send an answer.

    Args:
        send: the ASGI callable.
        common: headers that every answer has.
        answer: what to send.
        cut_after: stop with ``ConnectionCut`` after that many bytes of the body.

    Raises:
        ConnectionCut: ``cut_after`` was reached.
    """
    headers = [
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in (*common, *answer.headers)
    ]
    if answer.content_length is not None:
        headers.append((b"content-length", b"%d" % answer.content_length))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if isinstance(answer.body, bytes) and cut_after is None:
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        return
    left = answer.body_length if cut_after is None else cut_after
    pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body.pieces()
    for piece in pieces:
        part = piece if len(piece) <= left else piece[:left]
        left -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": True})
        if not left:
            break
    if cut_after is not None:
        raise ConnectionCut("cut in the middle of the answer", in_answer=True)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Answer a server's start and stop messages; the emulator needs neither."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
