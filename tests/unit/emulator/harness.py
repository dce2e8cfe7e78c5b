"""Requests to an emulator in process, without a client library in between."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from azfilesfs.emulator.app import EmulatorApp, create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.model.times import format_rfc1123
from azfilesfs.model.versions import NEWEST
from tests.unit.emulator import signing

START_NS = 1_700_000_000_000_000_000


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = START_NS) -> None:
        """Start at a fixed time."""
        self.now = now

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * 1_000_000_000)


@dataclass
class Reply:
    """An answer of the emulator."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The error code."""
        return self.headers.get("x-ms-error-code")

    @property
    def xml(self) -> ElementTree.Element:
        """The body as XML."""
        return ElementTree.fromstring(self.body.decode("utf-8-sig"))


@dataclass
class Caller:
    """Sends signed requests to an application, host-style.

    ``version`` and ``peer`` apply to every request; ``share`` is put before paths that do not
    start with ``/``.
    """

    app: EmulatorApp
    clock: FakeClock
    account: str = DEFAULT_ACCOUNT
    key: str = DEFAULT_KEY
    version: str = NEWEST
    share: str = "share"
    peer: str = "127.0.0.1"
    scheme: str = "https"
    chunk: int = 64 * 1024
    defaults: dict[str, str] = field(default_factory=dict)

    async def __call__(
        self, method: str, path: str, body: bytes = b"", /, *, sas: str = "", **headers: str
    ) -> Reply:
        """Send one request; header names with ``_`` for ``-``, ``ms_`` for ``x-ms-``."""
        sent = dict(self.defaults)
        for name, value in headers.items():
            plain = name.replace("_", "-")
            sent["x-" + plain if plain.startswith("ms-") else plain] = value
        target = path if path.startswith("/") else f"/{self.share}/{path}"
        return await self.send(method, target, body, sent, sas=sas)

    async def send(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        sas: str = "",
    ) -> Reply:
        """Send one request with exactly these headers, plus version, date, host and signature."""
        sent = {"host": f"{self.account}.file.core.windows.net", **headers}
        sent.setdefault("x-ms-version", self.version)
        sent.setdefault("x-ms-date", format_rfc1123(self.clock()))
        if method in {"PUT", "POST"}:
            sent.setdefault("content-length", str(len(body)))
        if sas:
            target += ("&" if "?" in target else "?") + sas
        elif "authorization" not in sent:
            url = f"{self.scheme}://{sent['host']}{target}"
            sent["authorization"] = signing.authorization(
                self.account,
                self.key,
                method,
                url,
                {name.lower(): value for name, value in sent.items()},
            )
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "scheme": self.scheme,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (name.encode("latin-1"), value.encode("utf-8"))
                for name, value in sent.items()
                if value is not None
            ],
            "client": (self.peer, 50000),
        }
        return await exchange(self.app, scope, body, self.chunk)


async def exchange(
    app: Callable[..., Awaitable[None]], scope: Mapping[str, Any], body: bytes, chunk: int
) -> Reply:
    """Run one ASGI exchange."""
    position = 0
    messages: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        nonlocal position
        part = body[position : position + chunk]
        position += len(part)
        return {"type": "http.request", "body": part, "more_body": position < len(body)}

    async def send(message: Mapping[str, Any]) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start = messages[0]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Reply(start["status"], headers, b"".join(part["body"] for part in messages[1:]))


def make_caller(**options: Any) -> Caller:
    """Return a caller of a new emulator with a share, and with a clock that stands still."""
    clock = FakeClock()
    options.setdefault("shares", ("share",))
    app = create_app(EmulatorOptions(clock=clock, **options))
    return Caller(app, clock)


async def put_file(call: Caller, path: str, data: bytes = b"", /, **headers: str) -> Reply:
    """Create a file with content, and return the answer of the last request."""
    reply = await call("PUT", path, ms_type="file", ms_content_length=str(len(data)), **headers)
    assert reply.status == 201, reply
    if data:
        reply = await put_range(call, path, 0, data)
        assert reply.status == 201, reply
    return reply


async def put_range(call: Caller, path: str, start: int, data: bytes, /, **headers: str) -> Reply:
    """Write a range."""
    where = f"bytes={start}-{start + len(data) - 1}"
    return await call(
        "PUT", f"{path}?comp=range", data, ms_range=where, ms_write="update", **headers
    )


async def make_directory(call: Caller, path: str, **headers: str) -> Reply:
    """Create a directory."""
    return await call("PUT", f"{path}?restype=directory", **headers)


async def rename(call: Caller, source: str, target: str, **headers: str) -> Reply:
    """Rename a file."""
    url = f"https://{call.account}.file.core.windows.net/{call.share}/{source}"
    return await call("PUT", f"{target}?comp=rename", ms_file_rename_source=url, **headers)


async def lease(call: Caller, path: str, action: str, **headers: str) -> Reply:
    """Do something to the lease of a file."""
    return await call("PUT", f"{path}?comp=lease", ms_lease_action=action, **headers)


async def read(call: Caller, path: str, **headers: str) -> bytes:
    """Return the content of a file."""
    reply = await call("GET", path, **headers)
    assert reply.status in {200, 206}, reply
    return reply.body
