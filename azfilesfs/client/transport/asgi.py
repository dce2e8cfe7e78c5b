"""An ASGI application in this process in place of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx


class _AsgiTransport(httpx.AsyncBaseTransport):
    """An ASGI application in this process; where it raises, a socket would have been cut."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._inner.handle_async_request(request)
        except Exception as error:
            raise httpx.ReadError("the application gave no complete answer") from error


def asgi_transport(app: Callable[..., Any]) -> httpx.AsyncBaseTransport:
    """Return a transport that calls an ASGI application, such as the emulator, in this process.

    An exception of the application becomes a cut connection. Answers arrive whole, whatever their
    size.
    """
    return _AsgiTransport(app)
