"""Operations as the kernel asks for them, and answers that no service gives."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyfuse3
import pytest

from azfilesfs.fuse.guard import Deadlines, Guard
from tests.semantics.harness import Interposed, Request, Scope, World

GUARD = Guard(Deadlines(operation=60, transfer=300))


async def number_of(operation: str, call: Callable[[], Awaitable[object]]) -> int:
    """Run an operation under the guard; return the errno that the kernel gets, 0 for success."""
    try:
        await GUARD.run(operation, call(), ())
    except pyfuse3.FUSEError as error:
        return int(error.errno)
    return 0


class Journal:
    """The lines that azfilesfs has logged in this test."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        """Read what pytest captures."""
        self._caplog = caplog

    def clear(self) -> None:
        """Forget what was logged so far."""
        self._caplog.clear()

    def complaints(self) -> list[str]:
        """Return the lines of level WARNING and above."""
        return [r.getMessage() for r in self._ours() if r.levelno >= logging.WARNING]

    def refusals(self) -> list[str]:
        """Return the lines of the guard below WARNING."""
        return [
            r.getMessage()
            for r in self._ours()
            if r.name == "azfilesfs.fuse.guard" and r.levelno < logging.WARNING
        ]

    def _ours(self) -> Iterator[logging.LogRecord]:
        return (r for r in self._caplog.records if r.name.startswith("azfilesfs"))


@contextmanager
def answering(
    world: World, when: Callable[[Request], bool], answer: Callable[[Request], "Answer"]
) -> Iterator[None]:
    """Answer the requests of mounts that fit in the service's place while the block runs."""

    async def instead(scope: Scope, receive: Any, send: Any) -> bool:
        request = Request.of(scope)
        if scope["type"] != "http" or not when(request):
            return False
        while (await receive()).get("more_body"):
            pass
        await answer(request).send(send)
        return True

    front: Interposed = world.front
    front.instead = instead
    yield
    front.instead = None


class Answer:
    """An answer word for word."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Keep it; the headers that every answer has are added."""
        self.status = status
        self.headers = {
            "x-ms-request-id": "11111111-2222-3333-4444-555555555555",
            "x-ms-version": "2025-05-05",
            "date": "Sat, 21 Nov 2026 12:00:00 GMT",
            **headers,
        }
        self.body = body

    async def send(self, send: Any) -> None:
        """Send it."""
        headers = [(k.encode(), v.encode("latin-1")) for k, v in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def listing_of(*names: str, encoded: bool = True) -> Answer:
    """Make a listing with these names, of empty files, each with an id of its own."""
    attribute = ' Encoded="true"' if encoded else ""
    entries = "".join(
        f"<File><Name{attribute}>{name}</Name><FileId>{9_300_000_000_000_000_000 + number}</FileId>"
        "<Properties><Content-Length>0</Content-Length>"
        "<CreationTime>2026-11-21T12:00:00.0000000Z</CreationTime>"
        "<LastWriteTime>2026-11-21T12:00:00.0000000Z</LastWriteTime>"
        "<ChangeTime>2026-11-21T12:00:00.0000000Z</ChangeTime>"
        '<Etag>"0x8DE28F0A0B0C0D0"</Etag></Properties></File>'
        for number, name in enumerate(names)
    )
    body = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ShareName="demo">'
        f"<Entries>{entries}</Entries><NextMarker /></EnumerationResults>"
    )
    return xml(body.encode())


def xml(body: bytes) -> Answer:
    """Make an answer that says it is XML."""
    return Answer(200, {"content-type": "application/xml", "content-length": str(len(body))}, body)


def is_listing(request: Request) -> bool:
    """Tell whether a request lists a directory."""
    return "comp=list" in request.query
