"""Cancellation at any moment leaves no token and no connection behind, and mixes no answers up."""

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest
import trio

from azfilesfs.client import (
    NO_RETRIES,
    BreakerPolicy,
    ClientOptions,
    HttpTransport,
    ShareServiceClient,
    StaticCredentials,
)
from azfilesfs.client.endpoint import Endpoint
from azfilesfs.client.transport import Transport, WireRequest, network_transport
from azfilesfs.errors import AzureFilesError
from azfilesfs.model.paths import SharePath
from tests.unit.client.loopback import serving
from tests.unit.client.support import ACCOUNT, CREDENTIAL, SHOWN, shown_file
from tests.unit.client.test_transport import CERTIFICATES, request

CONNECTIONS = 2


def number_of(head: bytes) -> int:
    """Return the number in the path of a request."""
    return int(head.split(b" ")[1].partition(b"?")[0].rpartition(b"/")[2])


def answers_slowly(chooser: random.Random):
    """Return a handler that answers with the request's own number, in pieces, with pauses."""

    async def handler(stream, head) -> bool:
        number = number_of(head)
        body = f"{number}".encode() * 500
        lines = {**SHOWN, "Content-Length": str(len(body))}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        data = f"HTTP/1.1 200 OK\r\n{text}\r\n".encode() + body
        cut = chooser.randrange(len(data))
        await trio.sleep(chooser.random() * 0.003)
        await stream.send_all(data[:cut])
        await trio.sleep(chooser.random() * 0.003)
        await stream.send_all(data[cut:])
        return True

    return handler


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
async def test_many_cancelled_requests_and_a_small_pool(network, seed, encrypted, tmp_path):
    """Of many requests, most cancelled at random moments, none harms another or the pool."""
    chooser = random.Random(seed)
    authority = tmp_path / "ca.pem"
    authority.write_bytes(CERTIFICATES.authority)
    context = CERTIFICATES.server_context() if encrypted else None
    inner = network(is_https=encrypted, ca_file=str(authority))
    transport = Transport(inner, CONNECTIONS)
    done = 0

    async def ask(port: int, number: int, patience: float) -> None:
        nonlocal done
        sent = request(port, scheme="https" if encrypted else "http")
        url = sent.url.replace("a%20b", str(number))
        with trio.move_on_after(patience):
            answer = await transport.send(
                type(sent)(
                    method="GET",
                    url=url,
                    headers=sent.headers,
                    body=b"",
                    connect_seconds=5,
                    idle_seconds=5,
                ),
                None,
            )
            assert answer.body == f"{number}".encode() * 500
            done += 1

    before_all = open_descriptors()
    async with serving(answers_slowly(chooser), context) as server:
        async with trio.open_nursery() as nursery:
            for number in range(400):
                patience = chooser.choice([0, chooser.random() * 0.02, chooser.random() * 0.2])
                nursery.start_soon(ask, server.port, number, patience)
                if number % 20 == 0:
                    await trio.sleep(0.005)
        with trio.fail_after(10):
            assert transport.busy == 0
            before = done
            async with trio.open_nursery() as nursery:
                for number in range(1000, 1000 + 3 * CONNECTIONS):
                    nursery.start_soon(ask, server.port, number, 10.0)
            assert done == before + 3 * CONNECTIONS
        idle, in_use = inner.connections
        assert idle <= CONNECTIONS
        assert in_use == 0
        await inner.aclose()
    assert open_descriptors() <= before_all


@pytest.mark.parametrize("seed", [4, 5])
async def test_cancelled_operations(kind, seed):
    """Whole operations and streams, cancelled anywhere, leave the client as good as new."""
    chooser = random.Random(seed)
    options = ClientOptions(
        max_connections=CONNECTIONS,
        retry=NO_RETRIES,
        breaker=BreakerPolicy(failures=1000),
        transport=kind,
    )
    async with serving(answers_slowly(chooser)) as server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.port}/{ACCOUNT}", ACCOUNT)
        credentials = StaticCredentials(CREDENTIAL)
        async with ShareServiceClient.open(endpoint, credentials, options) as service:
            share = service.share("myshare")

            async def read(number: int, patience: float) -> None:
                path = SharePath.parse(str(number))
                expected = f"{number}".encode() * 500
                with trio.move_on_after(patience):
                    if number % 2:
                        assert (await share.get_file(path)).data == expected
                    else:
                        async with share.stream_file(path) as stream:
                            parts = [chunk async for chunk in stream]
                        assert b"".join(parts) == expected

            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(read, number, chooser.random() * 0.3)
            assert share._pipeline._transport.busy == 0
            with trio.fail_after(10):
                await read(1001, 10)
                await read(1002, 10)


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def answers_anyhow(chooser: random.Random):
    """Return a handler whose answers differ in size, form and pace; some connections end."""

    async def handler(stream, head) -> bool:
        number = number_of(head)
        body = f"{number:>8}".encode() * chooser.choice([1, 100, 40_000])
        if chooser.random() < 0.3:
            form = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            form = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        interim = b"HTTP/1.1 103 Early Hints\r\n\r\n" * chooser.choice([0, 0, 1])
        data = interim + b"HTTP/1.1 200 OK\r\n" + form
        cut = chooser.randrange(len(data))
        await stream.send_all(data[:cut])
        if chooser.random() < 0.3:
            await trio.sleep(chooser.random() * 0.005)
        if chooser.random() < 0.05:
            return False
        await stream.send_all(data[cut:])
        return chooser.random() > 0.05

    return handler


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
async def test_thousands_of_cancellations(seed, encrypted, tmp_path):
    """Thousands of requests of every form, most of them cancelled: no slot, no descriptor lost.

    An answer that arrives is the one to its own request, whatever was cut off before it on the
    connection.
    """
    chooser = random.Random(seed)
    authority = tmp_path / "ca.pem"
    authority.write_bytes(CERTIFICATES.authority)
    context = CERTIFICATES.server_context() if encrypted else None
    inner = network_transport(is_https=encrypted, ca_file=str(authority), proxy=None)
    transport = Transport(inner, 4)
    ends = Counter[str]()

    async def ask(port: int, number: int) -> None:
        body = bytes(chooser.choice([0, 10, 300_000]))
        sent = WireRequest(
            method="PUT",
            url=f"{'https' if encrypted else 'http'}://127.0.0.1:{port}/{number}",
            headers={"Host": "x", "Content-Length": str(len(body))},
            body=body,
            connect_seconds=5,
            idle_seconds=5,
        )
        with trio.move_on_after(
            chooser.choice([0, 0.001, 0.01, 0.1, 1]) * chooser.random()
        ) as scope:
            try:
                if number % 3:
                    found = (await transport.send(sent, None)).body
                else:
                    async with transport.stream(sent) as stream:
                        found = b"".join([chunk async for chunk in stream.chunks])
            except AzureFilesError:
                ends["failed"] += 1
                return
            assert found == f"{number:>8}".encode() * (len(found) // 8)
            assert found
            ends["answered"] += 1
        ends["cancelled"] += scope.cancelled_caught

    async def worker(port: int, numbers: Iterator[int]) -> None:
        for number in numbers:
            await ask(port, number)

    before = open_descriptors()
    async with serving(answers_anyhow(chooser), context) as server:
        numbers = iter(range(1000))
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(worker, server.port, numbers)
        idle, in_use = inner.connections
        assert (transport.busy, in_use) == (0, 0)
        assert idle <= 4
        await inner.aclose()
    assert open_descriptors() <= before
    assert ends["cancelled"] > 100
    assert ends["answered"] > 100


async def test_a_cancellation_at_every_checkpoint():
    """One request, cancelled at its first, second, third, ... checkpoint, never leaves a token."""

    class Slow(HttpTransport):
        async def handle_async_request(self, request):
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            return shown_file(1)

    endpoint = Endpoint(f"http://127.0.0.1:1/{ACCOUNT}", ACCOUNT)
    async with ShareServiceClient.open(
        endpoint, StaticCredentials(CREDENTIAL), transport=Slow()
    ) as service:
        share = service.share("myshare")
        finished = 0
        for steps in range(30):
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    nonlocal finished
                    await share.get_file_properties(SharePath.parse("f"))
                    finished += 1

                nursery.start_soon(ask)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert share._pipeline._transport.busy == 0
            assert share._pipeline._attempts.gate._breaker.admit(0.0) is not None

    assert 0 < finished < 30
