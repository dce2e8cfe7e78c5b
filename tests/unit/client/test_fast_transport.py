"""The project's own transport over real sockets: what only it does, or does in its own way."""

import contextlib
import socket
import ssl

import httpx
import pytest
import trio

from azfilesfs import errors
from azfilesfs.client.transport import FastTransport, Transport, TransportKind, fast, sockets
from azfilesfs.client.transport.connections import ConnectionPool
from azfilesfs.client.transport.network import network_transport
from azfilesfs.emulator.tls import make_certificates
from azfilesfs.model.buffers import BufferPool
from azfilesfs.model.limits import KIB, MIB, RANGE_BYTES
from tests.unit.client.loopback import read_request, says, serving
from tests.unit.client.test_transport import OK, request

CERTIFICATES = make_certificates()
OK_LINE = b"HTTP/1.1 200 OK\r\n"
NOTHING = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def kind():
    """Return the kind that this module is about."""
    return TransportKind.FAST


@pytest.fixture
def ca_file(tmp_path):
    """Return a file with the authority of the test server."""
    path = tmp_path / "ca.pem"
    path.write_bytes(CERTIFICATES.authority)
    return str(path)


@pytest.fixture(params=[False, True], ids=["http", "https"])
def wire(request, network, ca_file):
    """Return settings of the server, those of a request, and a transport that fit together."""
    if request.param:
        inner = network(is_https=True, ca_file=ca_file)
        return CERTIFICATES.server_context(), {"scheme": "https"}, inner
    return None, {"scheme": "http"}, network()


def answer(body: bytes, *lines: str) -> bytes:
    """Return an answer with a Content-Length."""
    text = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 200 OK\r\n{text}Content-Length: {len(body)}\r\n\r\n".encode() + body


def put(port: int, size: int, **more):
    """Return a request with a body of zeros."""
    return request(
        port, method="PUT", headers={"Host": "x", "Content-Length": str(size)},
        body=memoryview(bytearray(size)), **more,
    )  # fmt: skip


async def test_a_large_answer_and_a_large_request(wire):
    """Megabytes go both ways unharmed, over one connection, and arrive as bytes of their own."""
    tls, scheme, inner = wire
    body = bytes(range(251)) * (4 * MIB // 251)
    async with serving(says(answer(body), keep=True), tls) as server:
        transport = Transport(inner, 2)
        for _ in range(3):
            sent = request(
                server.port, method="PUT", body=memoryview(body),
                headers={"Host": "x", "Content-Length": str(len(body))}, **scheme,
            )  # fmt: skip
            found = await transport.send(sent, len(body))
            assert type(found.body) is bytes
            assert found.body == body
        await inner.aclose()

    assert server.bodies == [body] * 3
    assert server.connections == 1


async def test_whole_ranges_share_memory_but_not_while_they_are_looked_at(wire, monkeypatch):
    """A range of a file cannot be written to, and stays as it is while others arrive."""
    tls, scheme, inner = wire
    monkeypatch.setattr(fast, "RANGES", BufferPool(RANGE_BYTES))
    bodies = [bytes([number]) * RANGE_BYTES for number in range(5)]
    answers = iter(bodies)

    async def answer_with_the_next(stream: trio.abc.Stream, head: bytes) -> bool:
        body = next(answers)
        line = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(line.encode() + body)
        return True

    async with serving(answer_with_the_next, tls) as server:
        transport = Transport(inner, 2)

        async def fetch() -> memoryview:
            found = await transport.send(request(server.port, **scheme), RANGE_BYTES)
            assert isinstance(found.body, memoryview)
            assert found.body.readonly
            return found.body

        kept = {number: await fetch() for number in range(3)}
        free = kept.pop(1).obj
        kept |= {number: await fetch() for number in range(3, 5)}
        await inner.aclose()

    assert all(kept[number] == bodies[number] for number in (0, 2, 3, 4))
    assert len({id(view.obj) for view in kept.values()}) == 4
    assert free in [kept[3].obj, kept[4].obj]


async def test_others_have_their_turn(wire):
    """While megabytes arrive and leave, the other tasks run about as often as 128 KiB pass."""
    tls, scheme, inner = wire
    size = 8 * MIB
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    def handle(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        with raw, tls.wrap_socket(raw, server_side=True) if tls else raw as stream:
            received = 0
            while received < size:
                received += len(stream.recv(MIB))
            stream.sendall(answer(bytes(size)))
            stream.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, handle, listener)
            async with trio.open_nursery() as counting:
                counting.start_soon(count)
                found = await Transport(inner, 1).send(put(port, size, **scheme), None)
                counting.cancel_scope.cancel()
            await inner.aclose()

    assert len(found.body) == size
    assert turns >= 2 * size // (128 * KIB) - 8


@pytest.mark.parametrize("interim", [1, 3])
async def test_interim_answers(wire, interim):
    """Answers with 1xx are passed over, also where they come with the final one."""
    tls, scheme, inner = wire
    data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * interim + OK
    async with serving(says(data, keep=True), tls) as server:
        transport = Transport(inner, 1)
        for _ in range(2):
            found = await transport.send(request(server.port, **scheme), None)
            assert (found.status, found.body) == (200, b"hello")
        await inner.aclose()

    assert server.connections == 1


async def test_interim_answers_without_end(network):
    """A server that only ever says 1xx is given up."""
    inner = network()
    async with serving(says(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)) as server:
        with pytest.raises(errors.ProtocolError, match="interim"):
            await Transport(inner, 1).send(request(server.port), None)
        await inner.aclose()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (OK_LINE + b"A: b\r\n" * 20_000 + b"\r\n", errors.ProtocolError),
        (OK_LINE + b"Content-Le", errors.ProtocolError),
        (OK_LINE + b"Content-Length: 5\r\n" * 2 + b"\r\nhello", errors.ProtocolError),
        (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", errors.ProtocolError),
        (OK_LINE + b"Content-Length: 999999999999\r\n\r\nhello", errors.IntegrityError),
        (OK_LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", errors.IntegrityError),
    ],
    ids=["long-head", "cut-head", "two-lengths", "upgrade", "lie", "cut-chunks"],
)
async def test_bad_answers(wire, data, error):
    """Cut, overlong and ambiguous answers become errors, and the connection is not used again."""
    tls, scheme, inner = wire
    async with serving(says(data), tls) as server:
        with pytest.raises(error) as caught:
            await Transport(inner, 1).send(request(server.port, **scheme), None)

        assert caught.value.may_have_been_applied
        assert inner.connections == (0, 0)


@pytest.mark.parametrize(
    "data",
    [
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
        OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
        OK.replace(b"1.1", b"1.0"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nmore",
    ],
    ids=["more", "close", "old", "more-chunks"],
)
async def test_connections_that_are_not_kept(wire, data):
    """A connection with more on it than was asked for, or about to close, serves nobody else."""
    tls, scheme, inner = wire
    async with serving(says(data, keep=True), tls) as server:
        transport = Transport(inner, 1)
        for _ in range(2):
            assert (await transport.send(request(server.port, **scheme), None)).body == b"hello"
            assert inner.connections == (0, 0)

        assert server.connections == 2


async def test_something_unasked_on_an_idle_connection(wire):
    """What arrives while nobody asked is never taken for the next answer."""
    tls, scheme, inner = wire
    spoken = trio.Event()

    async def late(stream, _head):
        await stream.send_all(OK)
        with trio.move_on_after(0.02):
            await stream.receive_some(1)
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(answer(b"wrong"))
        spoken.set()
        return True

    async with serving(late, tls) as server:
        transport = Transport(inner, 1)
        await transport.send(request(server.port, **scheme), None)
        await spoken.wait()
        assert (await transport.send(request(server.port, **scheme), None)).body == b"hello"
        await inner.aclose()

        assert server.connections == 2


async def test_a_connection_idle_for_too_long(network, monkeypatch):
    """Before the service would close it, an old connection is closed by us."""
    monkeypatch.setattr(fast, "_KEEPALIVE_SECONDS", -1.0)
    inner = network()
    async with serving(says(OK, keep=True)) as server:
        transport = Transport(inner, 1)
        for _ in range(3):
            await transport.send(request(server.port), None)
        await inner.aclose()

    assert server.connections == 3
    assert inner.connections == (0, 0)


async def test_a_kept_connection_that_breaks_under_a_request(wire):
    """A server that takes a request and hangs up is not asked again behind the caller's back."""
    tls, scheme, inner = wire
    asked = 0

    async def handler(stream, _head):
        nonlocal asked
        asked += 1
        if asked == 1:
            await stream.send_all(OK)
        return asked == 1

    async with serving(handler, tls) as server:
        transport = Transport(inner, 1)
        await transport.send(request(server.port, **scheme), None)
        with pytest.raises(errors.ConnectionFailed) as caught:
            await transport.send(request(server.port, method="DELETE", **scheme), None)
        await inner.aclose()

    assert caught.value.may_have_been_applied
    assert asked == 2
    assert server.connections == 1


async def test_two_services_and_one_pool(network):
    """A connection to one service is never used for another."""
    inner = network()
    async with (
        serving(says(answer(b"one"), keep=True)) as one,
        serving(says(answer(b"two"), keep=True)) as two,
    ):
        transport = Transport(inner, 1)
        for _ in range(2):
            assert (await transport.send(request(one.port), None)).body == b"one"
            assert (await transport.send(request(two.port), None)).body == b"two"
        await inner.aclose()


@contextlib.asynccontextmanager
async def raw_server(handler):
    """Serve connections as they are, unread, on a port."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def serve(stream):
            async with stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    await handler(stream)

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


REFUSAL = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_an_answer_before_the_body_was_read(network, interim):
    """A server that answers and reads no further is heard at once, not after the idle limit."""

    async def handler(stream):
        await stream.receive_some(10)
        if interim:
            await stream.send_all(interim)
            # The client is to find it in one look and the refusal in a later one.
            await trio.sleep(2.5 * sockets._LOOK_SECONDS)
        await stream.send_all(REFUSAL)
        await trio.sleep_forever()

    inner = network()
    async with raw_server(handler) as port:
        with trio.fail_after(20):
            found = await Transport(inner, 1).send(put(port, 32 * MIB, idle_seconds=60), None)

    assert (found.status, found.body) == (413, b"no")
    assert inner.connections == (0, 0)


async def test_an_answer_and_a_closed_connection(network):
    """A server that answers early and closes is heard, although sending fails."""

    async def handler(stream):
        await stream.receive_some(10)
        await stream.send_all(REFUSAL)

    inner = network()
    async with raw_server(handler) as port:
        found = await Transport(inner, 1).send(put(port, 32 * MIB), None)

    assert (found.status, found.body) == (413, b"no")
    assert inner.connections == (0, 0)


async def test_a_connection_cut_under_the_body(network):
    """A server that hangs up within the request is a broken connection, perhaps with effect."""

    async def handler(stream):
        await stream.receive_some(10)

    inner = network()
    async with raw_server(handler) as port:
        with pytest.raises(errors.ConnectionFailed) as caught:
            await Transport(inner, 1).send(put(port, 32 * MIB), None)

    assert caught.value.may_have_been_applied
    assert inner.connections == (0, 0)


async def test_a_server_that_takes_nothing(network):
    """A server that stops reading is given up after the idle limit."""

    async def handler(stream):
        await trio.sleep_forever()

    inner = network()
    async with raw_server(handler) as port:
        with pytest.raises(errors.Timeout) as caught:
            await Transport(inner, 1).send(put(port, 32 * MIB, idle_seconds=0.6), None)

    assert caught.value.may_have_been_applied
    assert inner.connections == (0, 0)


async def test_a_body_that_ends_with_the_connection(wire):
    """Without a length the body ends with the connection; under TLS only with its farewell."""
    tls, scheme, inner = wire
    data = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000

    async with serving(says(data), tls) as server:
        transport = Transport(inner, 1)
        if tls is None:
            assert len((await transport.send(request(server.port), None)).body) == 100_000
        else:
            # The test's server cuts the connection, as an attacker could.
            with pytest.raises(errors.IntegrityError):
                await transport.send(request(server.port, **scheme), None)

        assert inner.connections == (0, 0)


async def test_a_body_that_ends_with_the_farewell_of_tls(network, ca_file):
    """A connection closed as TLS has it ends a body without length well."""

    async def handler(stream, _head):
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nhello")
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.unwrap()
        return False

    inner = network(is_https=True, ca_file=ca_file)
    async with serving(handler, CERTIFICATES.server_context()) as server:
        with contextlib.suppress(trio.ClosedResourceError):
            found = await Transport(inner, 1).send(request(server.port, scheme="https"), None)

    assert found.body == b"hello"


async def test_streams_of_every_kind(wire):
    """Bodies with a length, in chunks and in several pieces are streamed."""
    tls, scheme, inner = wire
    body = bytes(300 * KIB)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with (
        serving(says(answer(body), keep=True), tls) as server,
        Transport(inner, 1).stream(request(server.port, **scheme)) as stream,
    ):
        pieces = [piece async for piece in stream.chunks]
    assert b"".join(pieces) == body
    assert len(pieces) == 3
    async with serving(says(chunked, keep=True), tls) as server:
        transport = Transport(inner, 1)
        for _ in range(2):
            async with transport.stream(request(server.port, **scheme)) as stream:
                assert [piece async for piece in stream.chunks] == [b"hello"]
        await inner.aclose()
    assert server.connections == 1


async def test_an_announced_length_is_not_memory_yet(network):
    """Memory for a body beyond all reason is taken only as its bytes arrive."""
    inner = network()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000\r\n\r\n"
    async with serving(says(head + b"x" * 1000)) as server:
        transport = Transport(inner, 1)
        with pytest.raises(errors.IntegrityError):
            await transport.send(request(server.port), None)
        with pytest.raises(errors.ProtocolError, match="longer"):
            await transport.send(request(server.port), 5)


async def test_as_a_transport_of_httpx(wire):
    """Whoever knows httpx alone can use it: requests, bodies, streams and errors are httpx's."""
    tls, scheme, inner = wire
    assert isinstance(inner, FastTransport)
    async with (
        serving(says(OK, keep=True), tls) as server,
        httpx.AsyncClient(transport=inner) as client,
    ):
        url = f"{scheme['scheme']}://127.0.0.1:{server.port}/a%20b?c=d%2Fe"
        found = await client.put(url, content=b"body", headers={"X-A": "b"})
        assert (found.status_code, found.text) == (200, "hello")
        assert found.headers["x-ms-meta-aa"] == "b"
        async with client.stream("GET", url) as stream:
            assert [chunk async for chunk in stream.aiter_bytes()] == [b"hello"]

    assert server.connections == 1
    assert server.heads[0].startswith(b"PUT /a%20b?c=d%2Fe HTTP/1.1\r\n")
    assert server.bodies[0] == b"body"
    with pytest.raises(httpx.ConnectError):
        await inner.handle_async_request(httpx.Request("GET", "http://127.0.0.1:1/"))


async def test_https_where_only_http_was_set_up(network):
    """A transport for plain http refuses https instead of speaking it unchecked."""
    inner = network()
    async with serving(says(OK)) as server:
        with pytest.raises(errors.InvalidRequest):
            await Transport(inner, 1).send(request(server.port, scheme="https"), None)

    assert server.heads == []


def proxy_to(port: int):
    """Return what a proxy does, CONNECT and then carry bytes to a port; and the heads it got."""
    heads: list[bytes] = []

    async def handler(stream):
        found = await read_request(stream)
        assert found is not None
        heads.append(found[0])
        await stream.send_all(b"HTTP/1.1 200 Connected\r\n\r\n")
        async with await trio.open_tcp_stream("127.0.0.1", port) as inner, trio.open_nursery() as n:

            async def carry(source, sink):
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    async for data in source:
                        await sink.send_all(data)
                n.cancel_scope.cancel()

            n.start_soon(carry, stream, inner)
            n.start_soon(carry, inner, stream)

    return handler, heads


async def test_through_a_proxy(network, ca_file, caplog):
    """TLS goes through the proxy to the service; our credentials go to it alone."""
    caplog.set_level("DEBUG")
    async with serving(says(OK, keep=True), CERTIFICATES.server_context()) as server:
        handler, heads = proxy_to(server.port)
        async with raw_server(handler) as port:
            inner = network(
                is_https=True, ca_file=ca_file, proxy=f"http://user:hunter2@127.0.0.1:{port}"
            )
            assert isinstance(inner, FastTransport)
            transport = Transport(inner, 1)
            for _ in range(2):
                sent = request(server.port, scheme="https", host="localhost")
                assert (await transport.send(sent, None)).body == b"hello"
            await inner.aclose()

    lines = heads[0].split(b"\r\n")
    assert lines[:2] == [
        f"CONNECT localhost:{server.port} HTTP/1.1".encode(),
        f"Host: localhost:{server.port}".encode(),
    ]
    assert lines[2:] == [b"Proxy-Authorization: Basic dXNlcjpodW50ZXIy"]
    assert len(heads) == 1
    assert b"Proxy" not in server.heads[0]
    assert "hunter2" not in caplog.text
    assert "dXNlcjpodW50ZXIy" not in caplog.text + repr(vars(inner))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 Connected\r\n\r\nmore",
        b"HTTP/1.1 200",
        b"SSH-2.0-x\r\n",
    ],
    ids=["nothing", "407", "more", "cut", "ssh"],
)
async def test_a_proxy_that_does_not_let_us_through(network, ca_file, reply):
    """Whatever else a proxy says, nothing was sent to the service."""

    async def refusing(stream):
        await read_request(stream)
        await stream.send_all(reply)

    async with raw_server(refusing) as port:
        inner = network(is_https=True, ca_file=ca_file, proxy=f"http://127.0.0.1:{port}")
        with pytest.raises(errors.ConnectionFailed) as caught:
            await Transport(inner, 1).send(request(443, scheme="https"), None)

    assert not caught.value.may_have_been_applied
    assert inner.connections == (0, 0)


def test_a_proxy_behind_tls(ca_file):
    """A proxy that is itself reached by TLS is left to httpx, whatever is asked for."""
    inner = network_transport(is_https=True, ca_file=ca_file, proxy="https://proxy:443")
    assert isinstance(inner, ConnectionPool)


async def test_a_host_name_that_is_none(network):
    """A name that no resolver could be asked for is a failed connection."""
    inner = network()
    with pytest.raises(errors.ConnectionFailed) as caught:
        await Transport(inner, 1).send(request(1, host=f"{'a' * 64}.example.com"), None)
    assert not caught.value.may_have_been_applied


async def test_only_new_versions_of_tls(network, ca_file):
    """A server that speaks nothing newer than TLS 1.1 is refused."""
    context = CERTIFICATES.server_context()
    with pytest.warns(DeprecationWarning, match="TLS"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLS"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    inner = network(is_https=True, ca_file=ca_file)
    async with serving(says(OK), context) as server:
        with pytest.raises(errors.TlsFailed):
            await Transport(inner, 1).send(request(server.port, scheme="https"), None)

    assert server.heads == []


async def test_empty_answers(network):
    """An answer without a body leaves the connection for the next request."""
    inner = network()
    async with serving(says(NOTHING, keep=True)) as server:
        transport = Transport(inner, 1)
        for method in ("PUT", "HEAD", "DELETE"):
            assert (await transport.send(request(server.port, method=method), None)).body == b""
        await inner.aclose()

    assert server.connections == 1
