"""Faults by plan, counts, the control interface and the slow network, in process."""

import json
import time
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from azfilesfs.emulator.faults import ConnectionCut, FaultPlan, PlanError
from azfilesfs.emulator.network import NetworkSettings
from tests.unit.emulator.harness import Caller, Reply, put_file, put_range, read


async def control(
    call: Caller, method: str, name: str, data: object = None, peer: str = "127.0.0.1"
) -> Reply:
    """Send a request to the control interface."""
    call.peer = peer
    body = b"" if data is None else json.dumps(data).encode()
    headers = {"host": "127.0.0.1:1", "authorization": "none"}
    return await call.send(method, f"/_emulator/{name}", body, headers)


async def test_status_without_and_with_effect(call: Caller) -> None:
    """A status replaces the answer; only with ``effect`` the operation has been done."""
    await put_file(call, "f", b"old")
    call.app.faults.set_plan(
        {
            "rules": [
                {"operation": "PutRange", "nth": 1, "status": 503, "code": "ServerBusy"},
                {"operation": "PutRange", "nth": 2, "status": 500, "effect": True},
            ]
        }
    )
    first = await put_range(call, "f", 0, b"1")
    assert (first.status, first.code, await read(call, "f")) == (503, "ServerBusy", b"old")
    second = await put_range(call, "f", 0, b"2")
    assert (second.status, second.code, await read(call, "f")) == (500, "InternalError", b"2ld")
    assert (await put_range(call, "f", 0, b"3")).status == 201


async def test_throttling_with_a_header(call: Caller) -> None:
    """A throttled answer may carry Retry-After."""
    call.app.faults.add(
        operation="GetFile*", status=503, code="ServerBusy", answer_headers={"Retry-After": "7"}
    )
    reply = await call("HEAD", "f")
    assert (reply.status, reply.headers["retry-after"], reply.body) == (503, "7", b"")


async def test_delay(call: Caller, autojump_clock: MockClock) -> None:
    """The request is looked at after the delay."""
    call.app.faults.add(operation="GetFileProperties", delay=12.5)
    started = trio.current_time()
    await call("HEAD", "f")
    assert trio.current_time() - started == 12.5


@pytest.mark.parametrize(
    ("cut", "expected"), [("before", b"old"), ("request", b"old"), ("after", b"new")]
)
async def test_cuts_around_the_effect(call: Caller, cut: str, expected: bytes) -> None:
    """In process a cut raises; the effect is there only where the cut comes after it."""
    await put_file(call, "f", b"old")
    call.app.faults.add(operation="PutRange", cut=cut)
    with pytest.raises(ConnectionCut):
        await put_range(call, "f", 0, b"new")
    call.app.faults.clear()
    assert await read(call, "f") == expected
    assert call.app.requests.of("PutRange", "cut") == 1


async def test_a_cut_in_the_body(call: Caller) -> None:
    """Part of the body has been sent when the connection ends."""
    await put_file(call, "f", b"0123456789")
    call.app.faults.add(operation="GetFile", cut="body")
    with pytest.raises(ConnectionCut):
        await call("GET", "f")
    assert call.app.requests.counts()["bytes"]["out"] == 5


async def test_truncated_and_corrupted_bodies(call: Caller) -> None:
    """A truncated body has a matching length; a corrupted one has one byte inverted."""
    await put_file(call, "f", b"0123456789")
    call.app.faults.set_plan(
        {"rules": [{"nth": 1, "truncate": 3}, {"nth": 2, "corrupt": True}, {"nth": 3}]}
    )
    short = await call("GET", "f", ms_range="bytes=0-9")
    assert (short.body, short.headers["content-length"]) == (b"0123456", "7")
    assert short.headers["content-range"] == "bytes 0-9/10"
    wrong = await call("GET", "f", ms_range="bytes=0-9", ms_range_get_content_md5="true")
    assert wrong.body == b"01234\xca6789"
    assert await read(call, "f") == b"0123456789"


async def test_faults_of_streamed_bodies(call: Caller) -> None:
    """Large bodies are spoiled piece by piece."""
    size = 9 * 1024**2
    await call("PUT", "f", ms_type="file", ms_content_length=str(size))
    call.app.faults.set_plan({"rules": [{"nth": 2, "truncate": 1}, {"nth": 3, "corrupt": True}]})
    await call("HEAD", "f")
    assert len((await call("GET", "f")).body) == size - 1
    spoiled = (await call("GET", "f")).body
    assert [index for index in (size // 2 - 1, size // 2) if spoiled[index]] == [size // 2]


async def test_etags_that_lie(call: Caller) -> None:
    """``stale`` shows the ETag before the last change, any other text is shown itself."""
    await put_file(call, "f", b"1")
    call.app.faults.set_plan(
        {"rules": [{"operation": "GetFileProperties", "nth": 3, "etag": "stale"}]}
    )
    old = (await call("HEAD", "f")).headers["etag"]
    new = (await put_range(call, "f", 0, b"2")).headers["etag"]
    assert (await call("HEAD", "f")).headers["etag"] == new != old
    assert (await call("HEAD", "f")).headers["etag"] == old
    call.app.faults.set_plan({"rules": [{"etag": '"0x1"'}]})
    assert (await call("HEAD", "f")).headers["etag"] == '"0x1"'


async def test_headers_that_lie(call: Caller) -> None:
    """Any header of the answer can be replaced, such as the length in Content-Range."""
    await put_file(call, "f", b"0123456789")
    call.app.faults.add(answer_headers={"Content-Range": "bytes 0-1/99"})
    reply = await call("GET", "f", ms_range="bytes=0-1")
    assert reply.headers["content-range"] == "bytes 0-1/99"


async def test_lengths_that_lie(call: Caller) -> None:
    """A Content-Length beyond the body ends in a cut after it, a smaller one ends the body."""
    await put_file(call, "f", b"0123456789")
    call.app.faults.set_plan(
        {
            "rules": [
                {"nth": 1, "answer_headers": {"Content-Length": "4"}},
                {"nth": 2, "answer_headers": {"Content-Length": "12"}},
            ]
        }
    )
    short = await call("GET", "f")
    assert (short.body, short.headers["content-length"]) == (b"0123", "4")
    with pytest.raises(ConnectionCut) as caught:
        await call("GET", "f")
    assert caught.value.in_answer
    assert call.app.requests.counts()["bytes"]["out"] == 14
    assert (await read(call, "f")) == b"0123456789"


async def test_what_a_rule_matches(call: Caller) -> None:
    """Operation, path and headers are patterns; ``times`` ends a rule; the first one wins."""
    await put_file(call, "a.txt")
    rules: list[dict[str, Any]] = [
        {"operation": "GetFileProperties", "path": "share/*.txt", "status": 418, "times": 1},
        {"headers": {"X-MS-Lease-Action": "acquire"}, "status": 419, "nth": [2]},
        {"path": "share/a.txt", "status": 420},
    ]
    call.app.faults.set_plan({"rules": rules})
    assert (await call("HEAD", "a.txt")).status == 418
    assert (await call("HEAD", "a.txt")).status == 420
    assert (await call("HEAD", "b.bin")).status == 404
    acquire = {"ms_lease_action": "acquire", "ms_lease_duration": "-1"}
    assert (await call("PUT", "b?comp=lease", **acquire)).status == 404
    assert (await call("PUT", "b?comp=lease", **acquire)).status == 419
    state = call.app.faults.state()["rules"]
    assert [(item["matched"], item["fired"]) for item in state] == [(2, 1), (2, 1), (2, 1)]


async def test_probability_is_repeatable(call: Caller) -> None:
    """The same seed gives the same faults."""

    async def statuses(seed: int) -> list[int]:
        rule = {"operation": "GetFileProperties", "probability": 0.5, "status": 500}
        call.app.faults.set_plan({"seed": seed, "rules": [rule]})
        return [(await call("HEAD", "f")).status for _ in range(30)]

    first = await statuses(1)
    assert first == await statuses(1) != await statuses(2)
    assert {404, 500} == set(first)


@pytest.mark.parametrize(
    "plan",
    [
        [],
        {"rules": {}},
        {"rules": [1]},
        {"seed": "x"},
        {"unknown": 1},
        {"rules": [{"colour": "red"}]},
        {"rules": [{"status": "503"}]},
        {"rules": [{"status": True}]},
        {"rules": [{"nth": 0}]},
        {"rules": [{"nth": ["x"]}]},
        {"rules": [{"cut": "sometimes"}]},
        {"rules": [{"probability": 2}]},
        {"rules": [{"delay": -1}]},
        {"rules": [{"headers": {"a": 1}}]},
        {"rules": [{"answer_headers": {"Content-Length": "many"}}]},
    ],
)
async def test_malformed_plans(call: Caller, plan: object) -> None:
    """A plan that is not as documented is refused with a reason, and the old one stays."""
    call.app.faults.add(operation="GetFile", status=418)
    with pytest.raises(PlanError):
        FaultPlan.from_json(plan)
    reply = await control(call, "PUT", "faults", plan)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]
    assert (await call("GET", "f")).status == 418


async def test_control_of_counts(call: Caller) -> None:
    """Counts by operation and status, and bytes; DELETE resets; control itself is not counted."""
    await put_file(call, "f", b"12345")
    await call("GET", "f")
    await call("GET", "none")
    counts = json.loads((await control(call, "GET", "requests")).body)
    assert counts["operations"] == {
        "CreateFile": {"201": 1},
        "PutRange": {"201": 1},
        "GetFile": {"200": 1, "404": 1},
    }
    assert counts["bytes"]["in"] == 5
    assert counts["bytes"]["out"] > 5
    assert call.app.requests.total() == 4
    assert call.app.requests.of("GetFile") == 2
    await control(call, "DELETE", "requests")
    assert json.loads((await control(call, "GET", "requests")).body) == {
        "operations": {},
        "bytes": {"in": 0, "out": 0},
    }


async def test_control_of_faults(call: Caller) -> None:
    """PUT sets a plan, GET shows how far it got, DELETE ends it."""
    plan = {"rules": [{"operation": "GetFile", "status": 500}]}
    assert (await control(call, "PUT", "faults", plan)).status == 200
    assert (await call("GET", "f")).status == 500
    shown = json.loads((await control(call, "GET", "faults")).body)
    assert shown["rules"][0]["fired"] == 1
    assert (await control(call, "DELETE", "faults")).status == 200
    assert (await call("GET", "f")).status == 404


async def test_control_is_for_loopback(call: Caller) -> None:
    """Other peers get 403, unknown names 404, wrong verbs 405, bad JSON 400."""
    for peer, status in (
        ("127.0.0.1", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.1", 403),
        ("", 403),
    ):
        assert (await control(call, "GET", "requests", peer=peer)).status == status
    assert (await control(call, "GET", "nothing")).status == 404
    assert (await control(call, "PATCH", "faults")).status == 405
    call.peer = "127.0.0.1"
    for body in (b"{", b"\xff"):
        headers = {"host": "127.0.0.1:1", "authorization": "none"}
        assert (await call.send("PUT", "/_emulator/network", body, headers)).status == 400


@pytest.mark.parametrize(
    "data", [[], {"latency": -1}, {"latency": "x"}, {"mib_per_second": 0}, {"speed": 1}]
)
async def test_malformed_network_settings(call: Caller, data: object) -> None:
    """Settings that are not as documented are refused."""
    assert (await control(call, "PUT", "network", data)).status == 400


async def test_control_of_the_network(call: Caller) -> None:
    """PUT sets, GET shows, DELETE resets."""
    wanted = {"latency": 0.25, "mib_per_second": 3.5}
    assert json.loads((await control(call, "PUT", "network", wanted)).body) == wanted
    assert json.loads((await control(call, "GET", "network")).body) == wanted
    reset = json.loads((await control(call, "DELETE", "network")).body)
    assert reset == {"latency": 0.0, "mib_per_second": None}


async def test_latency_and_bandwidth(call: Caller, autojump_clock: MockClock) -> None:
    """Requests wait for the latency each, bodies for the bandwidth that all share."""
    mib = 1024**2
    await call("PUT", "f", ms_type="file", ms_content_length=str(4 * mib))
    call.app.network.set(NetworkSettings(latency=0.1, mib_per_second=2.0))
    started = trio.current_time()
    await put_range(call, "f", 0, bytes(2 * mib))
    assert trio.current_time() - started == pytest.approx(1.1)

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: call("GET", "f", ms_range=f"bytes=0-{2 * mib - 1}"))
    assert trio.current_time() - started == pytest.approx(3.1)


async def test_a_bug_answers_500(
    call: Caller, monkeypatch: pytest.MonkeyPatch, log_guard: Any
) -> None:
    """An unexpected exception in an operation is logged and answered as InternalError."""
    log_guard.allow("an operation failed")
    await put_file(call, "f")
    monkeypatch.setattr(call.app.service, "share", lambda *arguments: 1 / 0)
    reply = await call("GET", "f")
    assert (reply.status, reply.code) == (500, "InternalError")


async def test_other_kinds_of_scopes(call: Caller) -> None:
    """The lifespan of a server is acknowledged, websockets are not served."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await call.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="websocket"):
        await call.app({"type": "websocket"}, receive, send)


async def test_a_client_that_goes_away(call: Caller) -> None:
    """A request that never becomes complete has no effect and no answer."""
    await put_file(call, "f", b"old")
    headers = {
        "host": "127.0.0.1",
        "content-length": "3",
        "x-ms-date": time.strftime("%a", time.gmtime(0)),
    }
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/devstoreaccount1/share/f",
        "query_string": b"comp=range",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    parts = iter(
        [{"type": "http.request", "body": b"n", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent = []

    async def receive() -> Any:
        return next(parts)

    async def send(message: Any) -> None:
        sent.append(message)

    await call.app(scope, receive, send)
    assert sent == []
    assert await read(call, "f") == b"old"
