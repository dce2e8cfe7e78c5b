"""The emulator on a socket, and what the command does around it."""

import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from azfilesfs.emulator import command
from azfilesfs.emulator.app import EmulatorApp, create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.emulator.server import Address, ServerOptions, serve
from azfilesfs.emulator.tls import make_certificates
from azfilesfs.errors import InvalidShareName
from azfilesfs.model.times import format_rfc1123
from tests.unit.emulator import signing
from tests.unit.emulator.harness import START_NS, FakeClock

SHARE = f"/{DEFAULT_ACCOUNT}/share"


@asynccontextmanager
async def running(
    options: ServerOptions | None = None,
) -> AsyncIterator[tuple[EmulatorApp, Address]]:
    """Serve an emulator with a share while the block runs."""
    app = create_app(EmulatorOptions(shares=("share",), clock=FakeClock()))
    async with trio.open_nursery() as nursery:
        address: Address = await nursery.start(partial(serve, app, options or ServerOptions()))
        yield app, address
        nursery.cancel_scope.cancel()


def raw_request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a signed request as it goes over the wire."""
    fields = {
        "host": "127.0.0.1",
        "x-ms-date": format_rfc1123(START_NS),
        "x-ms-version": "2026-10-06",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if method == "PUT":
        fields["content-length"] = str(len(body))
    fields["authorization"] = signing.authorization(
        DEFAULT_ACCOUNT, DEFAULT_KEY, method, f"http://127.0.0.1{target}", fields
    )
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def answer(stream: trio.abc.Stream, *, is_head: bool = False) -> tuple[int, bytes]:
    """Return status and body of one answer with a length or in chunks."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.receive_some()
        if not part:
            return 0, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    names = {
        line.partition(b":")[0].lower(): line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")[1:]
    }
    if is_head:
        return status, body
    if b"content-length" in names:
        while len(body) < int(names[b"content-length"]):
            part = await stream.receive_some()
            if not part:
                return status, body
            body += part
        return status, body
    while not body.endswith(b"0\r\n\r\n"):
        body += await stream.receive_some()
    return status, body


async def test_requests_over_one_connection() -> None:
    """A connection serves request after request, with bodies of several ranges' size."""
    data = os.urandom(4 * 1024**2)
    async with (
        running() as (_, address),
        await trio.open_tcp_stream("127.0.0.1", address.port) as stream,
    ):
        size = str(len(data))
        await stream.send_all(
            raw_request("PUT", f"{SHARE}/f", x_ms_type="file", x_ms_content_length=size)
        )
        assert await answer(stream) == (201, b"")
        where = f"bytes=0-{len(data) - 1}"
        await stream.send_all(
            raw_request("PUT", f"{SHARE}/f?comp=range", data, x_ms_range=where, x_ms_write="update")
        )
        assert (await answer(stream))[0] == 201
        await stream.send_all(raw_request("GET", f"{SHARE}/f"))
        assert await answer(stream) == (200, data)
        await stream.send_all(raw_request("HEAD", f"{SHARE}/f"))
        assert await answer(stream, is_head=True) == (200, b"")
        await stream.send_all(raw_request("GET", f"{SHARE}?restype=directory&comp=list"))
        status, body = await answer(stream)
        assert (status, b"<Name>f</Name>" in body) == (200, True)


async def test_https_with_the_emulators_own_authority() -> None:
    """The certificate is good for loopback addresses and for the service's host names."""
    certificates = make_certificates(["emulator.test", "10.1.2.3", "127.0.0.1"])
    trust = ssl.create_default_context(cadata=certificates.authority.decode())
    options = ServerOptions(tls=certificates.server_context())
    hosts = (
        "127.0.0.1",
        "localhost",
        "::1",
        f"{DEFAULT_ACCOUNT}.file.core.windows.net",
        "10.1.2.3",
    )
    async with running(options) as (_, address):
        assert address.url == f"https://127.0.0.1:{address.port}"
        for host in (*hosts, "emulator.test"):
            tcp = await trio.open_tcp_stream("127.0.0.1", address.port)
            async with trio.SSLStream(
                tcp, trust, server_hostname=host, https_compatible=True
            ) as stream:
                await stream.send_all(raw_request("GET", f"{SHARE}?restype=directory"))
                assert (await answer(stream))[0] == 200
        tcp = await trio.open_tcp_stream("127.0.0.1", address.port)
        stranger = trio.SSLStream(tcp, trust, server_hostname="elsewhere.test")
        with pytest.raises(trio.BrokenResourceError):
            await stranger.do_handshake()
        await trio.aclose_forcefully(stranger)


async def test_expect_100_continue() -> None:
    """A client that waits for the go-ahead gets it."""
    async with (
        running() as (_, address),
        await trio.open_tcp_stream("127.0.0.1", address.port) as stream,
    ):
        request = raw_request("PUT", f"{SHARE}/d?restype=directory", b"", expect="100-continue")
        await stream.send_all(request)
        status, _ = await answer(stream)
        assert status in {100, 201}


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ({"cut": "before"}, b""),
        ({"cut": "after"}, b""),
        ({"cut": "body"}, b"HTTP/1.1 200"),
    ],
)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_cuts_end_the_connection(rule: dict[str, Any], shown: bytes, secure: bool) -> None:
    """A cut closes this connection, at once and without an end of the answer; others go on."""
    certificates = make_certificates()
    trust = ssl.create_default_context(cadata=certificates.authority.decode())
    options = ServerOptions(tls=certificates.server_context() if secure else None)
    async with running(options) as (app, address):
        app.faults.add(operation="ListDirectoriesAndFiles", times=1, **rule)
        received = b""
        for attempt in range(2):
            stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", address.port)
            if secure:
                stream = trio.SSLStream(stream, trust, server_hostname="localhost")
            await stream.send_all(raw_request("GET", f"{SHARE}?restype=directory&comp=list"))
            if attempt == 1:
                assert (await answer(stream))[0] == 200
                await trio.aclose_forcefully(stream)
                break
            try:
                while part := await stream.receive_some():
                    received += part
            except trio.BrokenResourceError:
                pass
            await trio.aclose_forcefully(stream)
        assert b"</EnumerationResults>" not in received
        assert received.startswith(shown)


async def test_a_cut_in_the_middle_of_a_request() -> None:
    """The server reads half of the body and resets the connection; nothing is written."""
    data = bytes(1024 * 1024)
    async with (
        running() as (app, address),
        await trio.open_tcp_stream("127.0.0.1", address.port) as stream,
    ):
        size = str(len(data))
        await stream.send_all(
            raw_request("PUT", f"{SHARE}/f", x_ms_type="file", x_ms_content_length=size)
        )
        await answer(stream)
        app.faults.add(operation="PutRange", cut="request")
        where = f"bytes=0-{len(data) - 1}"
        request = raw_request(
            "PUT", f"{SHARE}/f?comp=range", data, x_ms_range=where, x_ms_write="update"
        )
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(request)
            while await stream.receive_some():
                pass
            raise trio.BrokenResourceError
        assert app.requests.of("PutRange", "cut") == 1


async def test_garbage_ends_its_own_connection_only() -> None:
    """Bad HTTP, plain http to an https port and vanished clients leave the server standing."""
    certificates = make_certificates()
    for tls in (None, certificates.server_context()):
        async with running(ServerOptions(tls=tls)) as (_, address):
            for junk in (b"\x16\x03\x01 garbage\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b""):
                stream = await trio.open_tcp_stream("127.0.0.1", address.port)
                await stream.send_all(junk)
                await stream.send_eof()
                with trio.fail_after(10):
                    try:
                        while await stream.receive_some():
                            pass
                    except trio.BrokenResourceError:
                        pass
                await stream.aclose()


async def test_stopping_ends_idle_connections() -> None:
    """A cancelled server does not wait for clients that keep a connection open."""
    with trio.fail_after(10):
        async with running() as (_, address):
            stream = await trio.open_tcp_stream("127.0.0.1", address.port)
            await stream.send_all(raw_request("GET", f"{SHARE}?restype=directory"))
            await answer(stream)
        await stream.aclose()


async def test_an_address_in_use() -> None:
    """A taken port is an OSError."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = create_app()
        with pytest.raises(OSError, match="use"):
            await serve(app, ServerOptions(port=taken.getsockname()[1]))


async def test_ipv6_addresses_are_bracketed() -> None:
    """The URL of an IPv6 listener can be used as it is."""
    assert Address("http", "::1", 80).url == "http://[::1]:80"


@pytest.mark.parametrize("http", [False, True])
async def test_the_command_tells_where_it_serves(tmp_path: Path, http: bool) -> None:
    """Once it serves, the env file and the CA are there, for the owner only."""
    options = command.EmulatorCommandOptions(
        shares=("one",), http=http, env_file=tmp_path / "emulator.env", data=tmp_path / "data"
    )
    async with trio.open_nursery() as nursery:
        served: command.ServedEmulator = await nursery.start(partial(command.serve, options))
        lines = dict(
            line.split("=", 1) for line in (tmp_path / "emulator.env").read_text().splitlines()
        )
        assert lines == served.environment()
        text = lines["AZURE_STORAGE_CONNECTION_STRING"]
        assert f"FileEndpoint={served.address.url}/{DEFAULT_ACCOUNT};" in text
        assert stat.S_IMODE((tmp_path / "emulator.env").stat().st_mode) == 0o600
        assert DEFAULT_KEY not in repr(served)
        if http:
            assert "AZFILESFS_CA_FILE" not in lines
        else:
            ca_file = Path(lines["AZFILESFS_CA_FILE"])
            assert ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
        nursery.cancel_scope.cancel()
    again = create_app(EmulatorOptions(data=tmp_path / "data"))
    assert list(again.service.accounts[DEFAULT_ACCOUNT].shares) == ["one"]
    again.close()


async def test_the_command_refuses_bad_options(tmp_path: Path) -> None:
    """Share names are checked, and nothing is left locked or half written."""
    with pytest.raises(InvalidShareName):
        await command.serve(command.EmulatorCommandOptions(shares=("X",), http=True))
    options = command.EmulatorCommandOptions(env_file=tmp_path / "no" / "env", data=tmp_path / "d")
    with pytest.raises((OSError, ExceptionGroup)):
        await command.serve(options)
    create_app(EmulatorOptions(data=tmp_path / "d")).close()


def test_where_the_authority_is_written(tmp_path: Path) -> None:
    """Beside the env file, else in the data directory, else in the working directory."""
    make = command.EmulatorCommandOptions
    assert command.ca_file_of(make(env_file=tmp_path / "e")) == tmp_path / "e.ca.pem"
    assert command.ca_file_of(make(data=tmp_path)) == tmp_path / "emulator-ca.pem"
    assert command.ca_file_of(make()) == Path.cwd() / "emulator-ca.pem"
    assert DEFAULT_KEY not in repr(make())
