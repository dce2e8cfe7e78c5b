"""The transport over real sockets: whatever arrives, or does not, becomes an error of ours."""

import logging
import ssl
from collections.abc import Iterable
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import HttpResponse
from azfilesfs.client.network import proxy_for, tls_context
from azfilesfs.client.transport import (
    Transport,
    WireRequest,
    asgi_transport,
)
from azfilesfs.emulator.tls import make_certificates
from tests.unit.client.loopback import says, serving
from tests.unit.client.support import Script

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Ms-Meta-Aa: b\r\n\r\nhello"
CERTIFICATES = make_certificates()


def request(port: int, *, scheme: str = "http", host: str = "127.0.0.1", **more) -> WireRequest:
    """Return a request to a local server."""
    given = {"method": "GET", "headers": {"Host": "x"}, "body": b"", **more}
    given = {"connect_seconds": 5.0, "idle_seconds": 5.0, **given}
    return WireRequest(url=f"{scheme}://{host}:{port}/a%20b", **given)


async def exchange(network, data: bytes, *, limit: int | None = None, **more):
    """Send one request to a server that answers with these bytes."""
    async with serving(says(data)) as server:
        inner = network()
        try:
            return await Transport(inner, 2).send(request(server.port, **more), limit)
        finally:
            await inner.aclose()


async def test_an_answer(network):
    """Status, headers in any case, raw names and the body arrive."""
    answer = await exchange(network, OK)

    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["x-ms-meta-aa"] == "b"
    assert ("X-Ms-Meta-Aa", "b") in answer.raw_headers


async def test_head(network):
    """The Content-Length of a HEAD is that of the file; no body is waited for."""
    answer = await exchange(
        network, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", method="HEAD"
    )

    assert answer.body == b""
    assert answer.headers["content-length"] == "500"


async def test_compressed_bytes_stay_as_they_are(network):
    """A stored content encoding is the file's own business: nothing is decompressed."""
    answer = await exchange(
        network, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    )

    assert answer.body == b"abc"


async def test_redirections_and_cookies_are_not_followed(network):
    """A redirection is an answer like any other, and a cookie is not sent back."""
    async with serving(
        says(
            b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n"
            b"Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
            keep=True,
        )
    ) as server:
        inner = network()
        transport = Transport(inner, 2)
        first = await transport.send(request(server.port), None)
        await transport.send(request(server.port), None)
        await inner.aclose()

    assert first.status == 302
    assert server.connections == 1
    assert b"ookie" not in server.heads[1]


async def test_the_target_and_body_are_sent_as_given(network):
    """The percent-encoded path and a body in several pieces arrive as they are."""
    body = bytes(range(256)) * 4096
    async with serving(says(OK)) as server:
        inner = network()
        sent = request(
            server.port,
            method="PUT",
            body=memoryview(body),
            headers={"Host": "x", "Content-Length": str(len(body))},
        )
        await Transport(inner, 2).send(sent, None)
        await inner.aclose()

    assert server.heads[0].startswith(b"PUT /a%20b HTTP/1.1")
    assert server.bodies == [body]
    assert b"content-type" not in server.heads[0].lower()


@pytest.mark.parametrize(
    ("data", "error", "applied"),
    [
        (b"", errors.ConnectionFailed, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", errors.IntegrityError, True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            errors.IntegrityError,
            True,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            errors.IntegrityError,
            True,
        ),
        (b"220 smtp.example.com ESMTP\r\n\r\n", errors.ProtocolError, True),
        (b"HTTP/1.1 2OO OK\r\n\r\n", errors.ProtocolError, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", errors.ProtocolError, True),
        (b"\x15\x03\x01\x00\x02\x02\x46", errors.ProtocolError, True),
    ],
    ids=["nothing", "short", "chunk", "bad-chunk", "smtp", "status", "length", "tls-alert"],
)
async def test_broken_answers(network, data, error, applied):
    """Cut, garbled and foreign answers are told apart; all may have followed the effect."""
    with pytest.raises(error) as caught:
        await exchange(network, data)
    assert caught.value.may_have_been_applied is applied
    assert caught.value.retryable


async def test_a_body_beyond_the_limit(network):
    """An announced or endless body longer than asked for is not read."""
    with pytest.raises(errors.ProtocolError, match="longer"):
        await exchange(network, OK, limit=4)
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100_000
    with pytest.raises(errors.ProtocolError, match="longer"):
        await exchange(network, endless, limit=50_000)


async def test_a_refused_connection(network):
    """Nobody listens: nothing was sent."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        inner = network()
        with pytest.raises(errors.ConnectionFailed) as caught:
            await Transport(inner, 2).send(request(port), None)
        await inner.aclose()

    assert not caught.value.may_have_been_applied
    assert caught.value.__cause__ is not None


class Resolver(trio.abc.HostnameResolver):
    """Resolves every name to the loopback address, or none."""

    def __init__(self, *, knows: bool) -> None:
        self.knows = knows

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002  # the name that trio gives it
        """Return the loopback address."""
        if not self.knows:
            raise trio.socket.gaierror(-2, "Name or service not known")
        stream = trio.socket.SOCK_STREAM
        return [(trio.socket.AF_INET, stream, 0, "", ("127.0.0.1", port))]

    async def getnameinfo(self, sockaddr, flags):
        """Refuse: nothing asks for it."""
        raise AssertionError


@contextmanager
def resolving(*, knows: bool):
    """Resolve names in our own way for a block."""
    before = trio.socket.set_custom_hostname_resolver(Resolver(knows=knows))
    try:
        yield
    finally:
        trio.socket.set_custom_hostname_resolver(before)


async def test_an_unknown_host(network):
    """A name that does not resolve has its own error."""
    inner = network()
    with resolving(knows=False), pytest.raises(errors.DnsResolutionFailed, match="not resolve"):
        await Transport(inner, 2).send(request(1, host="nowhere.invalid"), None)
    await inner.aclose()


async def test_a_silent_server(network):
    """A connection that stands still ends as a Timeout, and may have been applied."""

    async def silent(stream, _head):
        await stream.receive_some(1)
        return False

    async with serving(silent) as server:
        inner = network()
        with pytest.raises(errors.Timeout) as caught:
            await Transport(inner, 2).send(request(server.port, idle_seconds=0.05), None)
        await inner.aclose()

    assert caught.value.may_have_been_applied


async def test_a_connection_that_is_never_made(network):
    """A TLS handshake that nobody answers ends after the time for connecting; nothing was sent."""

    async def deaf(stream):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, deaf, listeners)
        port = listeners[0].socket.getsockname()[1]
        inner = network(is_https=True)
        with pytest.raises(errors.Timeout) as caught:
            await Transport(inner, 2).send(
                request(port, scheme="https", connect_seconds=0.05), None
            )
        await inner.aclose()
        nursery.cancel_scope.cancel()

    assert not caught.value.may_have_been_applied


@pytest.fixture
def ca_file(tmp_path):
    """Return a file with the authority of the test server."""
    path = tmp_path / "ca.pem"
    path.write_bytes(CERTIFICATES.authority)
    return str(path)


async def test_tls_with_an_own_authority(network, ca_file):
    """A server of an authority that the file names is trusted."""
    async with serving(says(OK), CERTIFICATES.server_context()) as server:
        inner = network(is_https=True, ca_file=ca_file)
        answer = await Transport(inner, 2).send(request(server.port, scheme="https"), None)
        await inner.aclose()

    assert answer.body == b"hello"


async def test_tls_with_an_unknown_authority(network):
    """Without the file the certificate is refused before anything is sent."""
    async with serving(says(OK), CERTIFICATES.server_context()) as server:
        inner = network(is_https=True)
        with pytest.raises(errors.TlsFailed, match="certificate was refused") as caught:
            await Transport(inner, 2).send(request(server.port, scheme="https"), None)
        await inner.aclose()

    assert not caught.value.retryable
    assert not caught.value.may_have_been_applied
    assert server.heads == []


async def test_tls_with_another_name(network, ca_file):
    """A good certificate of another host is refused."""
    async with serving(says(OK), CERTIFICATES.server_context()) as server:
        inner = network(is_https=True, ca_file=ca_file)
        sent = request(server.port, scheme="https", host="other.example.com")
        with (
            resolving(knows=True),
            pytest.raises(errors.TlsFailed, match="certificate was refused"),
        ):
            await Transport(inner, 2).send(sent, None)
        await inner.aclose()

    assert server.heads == []


async def test_a_server_that_speaks_no_tls(network, ca_file):
    """A plain server behind https is a TLS failure."""

    async def plain(stream):
        await stream.receive_some(1)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, plain, listeners)
        port = listeners[0].socket.getsockname()[1]
        inner = network(is_https=True, ca_file=ca_file)
        with pytest.raises(errors.TlsFailed, match="handshake"):
            await Transport(inner, 2).send(request(port, scheme="https"), None)
        await inner.aclose()
        nursery.cancel_scope.cancel()


def test_tls_settings(ca_file):
    """Certificates and names are checked, nothing below TLS 1.2 is spoken."""
    context = tls_context(ca_file, ssl.create_default_context)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_tls_without_system_authorities(monkeypatch):
    """Where the system names no authorities, the ones of the HTTP library serve."""
    empty = SimpleNamespace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: empty)
    made = ssl.create_default_context()

    assert tls_context(None, lambda: made) is made


def test_an_unusable_authority_file(tmp_path):
    """A file of authorities that is missing or no PEM is a ConfigurationError."""
    bad = tmp_path / "bad.pem"
    bad.write_text("no")
    for path in (str(bad), str(tmp_path / "none")):
        with pytest.raises(errors.ConfigurationError, match="cannot be read"):
            tls_context(path, ssl.create_default_context)


def test_proxies(monkeypatch):
    """The environment names the proxy; exceptions and loopback addresses go directly."""
    assert proxy_for("abc.file.core.windows.net", is_loopback=False) is None
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", ".example.com")

    assert proxy_for("abc.file.core.windows.net", is_loopback=False) == "http://proxy:3128"
    assert proxy_for("abc.example.com", is_loopback=False) is None
    assert proxy_for("127.0.0.1", is_loopback=True) is None

    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv("all_proxy", "http://other:3128")
    assert proxy_for("abc.file.core.windows.net", is_loopback=False) == "http://other:3128"


@pytest.mark.parametrize(
    "proxy", ["ftp://user:hunter2@proxy", "http://user:hunter2@x:port", "socks5://user:hunter2@x"]
)
def test_an_unusable_proxy(network, proxy):
    """A proxy that cannot be used is a ConfigurationError that does not repeat its password."""
    with pytest.raises(errors.ConfigurationError) as caught:
        network(is_https=True, proxy=proxy)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_refusing_proxy(network):
    """A proxy that does not let us through is a failed connection."""

    async with serving(
        says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    ) as server:
        inner = network(is_https=True, proxy=f"http://127.0.0.1:{server.port}")
        with pytest.raises(errors.ConnectionFailed) as caught:
            await Transport(inner, 1).send(request(443, scheme="https", host="x.example.com"), None)
        await inner.aclose()

    assert server.heads[0].startswith(b"CONNECT x.example.com:443")
    assert not caught.value.may_have_been_applied


async def test_streaming(network):
    """Chunks arrive as they come; the token is held until the block ends."""
    async with serving(says(OK)) as server:
        inner = network()
        transport = Transport(inner, 2)
        async with transport.stream(request(server.port)) as answer:
            assert transport.busy == 1
            body = b"".join([chunk async for chunk in answer.chunks])
        await inner.aclose()

    assert body == b"hello"
    assert transport.busy == 0


async def test_a_stream_left_early(network):
    """Leaving a stream half-way closes its connection, quietly, and the next request works."""
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000

    async def big(stream, _head):
        try:
            await stream.send_all(body)
        except trio.BrokenResourceError:
            return False
        return True

    async with serving(big) as server:
        inner = network()
        transport = Transport(inner, 1)
        for _ in range(3):
            async with transport.stream(request(server.port)) as answer:
                assert await answer.chunks.__anext__()
        await inner.aclose()

    assert transport.busy == 0
    assert server.connections == 3


async def test_several_streams_in_one_task(network):
    """One task may hold as many streams as there are connections; one more waits."""
    async with serving(says(OK, keep=True)) as server:
        inner = network()
        transport = Transport(inner, 2)
        async with transport.stream(request(server.port)), transport.stream(request(server.port)):
            with trio.move_on_after(0.05) as scope:
                await transport.send(request(server.port), None)
            assert scope.cancelled_caught
        await transport.send(request(server.port), None)
        await inner.aclose()


async def test_headers_that_cannot_be_sent(network):
    """A header that would break the request is refused, without being quoted."""
    inner = network()
    async with serving(says(OK)) as server:
        bad = request(server.port, headers={"Host": "x", "x-ms-copy-source": "hunter2\r\nx: y"})
        with pytest.raises(errors.InvalidRequest) as caught:
            await Transport(inner, 2).send(bad, None)
    await inner.aclose()

    assert "hunter2" not in str(caught.value)


async def test_asgi_failures_are_cut_connections():
    """An application that raises, or says nothing, looks like a cut connection."""

    async def app(scope, receive, send):
        raise ValueError("hunter2")

    transport = Transport(asgi_transport(app), 1)
    with pytest.raises(errors.ConnectionFailed) as caught:
        await transport.send(request(1), None)

    assert caught.value.may_have_been_applied
    assert transport.busy == 0


async def test_the_connection_is_reused(network):
    """Requests one after the other share one connection."""
    async with serving(says(OK, keep=True)) as server:
        inner = network()
        transport = Transport(inner, 2)
        for _ in range(5):
            await transport.send(request(server.port), None)
        await inner.aclose()

    assert server.connections == 1


async def test_an_unreadable_answer_of_a_transport():
    """A transport that gives an answer without an asynchronous body is refused."""

    class Lines(Iterable[bytes]):
        def __iter__(self):
            return iter([b"x"])

    class OnlySynchronous(HttpResponse):
        async def aclose(self) -> None:
            """Do nothing: there is nothing to close."""

    def odd(_request):
        return OnlySynchronous(200, content=Lines())

    with pytest.raises(errors.ProtocolError, match="cannot be read"):
        await Transport(Script([odd]), 1).send(request(1), None)


async def test_nothing_secret_is_logged(network, caplog):
    """At the most talkative level no log record contains the signature of a URL."""
    caplog.set_level(logging.DEBUG)
    async with serving(says(OK)) as server:
        inner = network()
        sent = request(server.port)
        signed = WireRequest(
            method="GET",
            url=f"{sent.url}?sig=hunter2",
            headers={"Host": "x", "Authorization": "SharedKey a:hunter2"},
            body=b"",
            connect_seconds=5,
            idle_seconds=5,
        )
        await Transport(inner, 2).send(signed, None)
        await inner.aclose()

    assert "hunter2" not in caplog.text
