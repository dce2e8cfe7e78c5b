"""Operations against scripted answers: what the emulator never says, and the network."""

import logging

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import (
    NO_RETRIES,
    ClientOptions,
    Endpoint,
    HttpResponse,
    ShareServiceClient,
    StaticCredentials,
)
from azfilesfs.client import service as service_module
from azfilesfs.client.transport import (
    ConnectionPool,
    FastTransport,
    TransportKind,
    network_transport,
)
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import NEWEST
from tests.unit.client.loopback import says, serving
from tests.unit.client.support import (
    ACCOUNT,
    CHANGED,
    COMMON,
    CREDENTIAL,
    SHOWN,
    answer,
    scripted,
    shown_file,
)

FILE = SharePath.parse("dir/file")
ONCE = ClientOptions(retry=NO_RETRIES)


def copying(status: str, copy_id: str = "c") -> HttpResponse:
    """Return the HEAD of a file that is the target of a copy."""
    response = shown_file(1)
    response.headers.update({"x-ms-copy-id": copy_id, "x-ms-copy-status": status})
    return response


async def test_waiting_for_a_pending_copy(autojump_clock):
    """A pending copy is asked for again, less and less often, until it is done."""
    steps = [copying("pending")] * 10 + [copying("success")]
    started = trio.current_time()
    async with scripted(steps, ONCE) as (share, script):
        found = await share.wait_for_copy(FILE, "c")

    assert found.copy is not None
    assert len(script.requests) == 11
    assert 10 < trio.current_time() - started < 40


@pytest.mark.parametrize(
    "step", [copying("failed"), copying("aborted"), copying("success", "other")]
)
async def test_a_copy_that_fails(step, autojump_clock):
    """A failed, aborted or replaced copy is CopyFailed."""
    async with scripted([step], ONCE) as (share, _):
        with pytest.raises(errors.CopyFailed):
            await share.wait_for_copy(FILE, "c")


async def test_aborting_a_copy(autojump_clock):
    """An abort that the service accepts, and one that is repeated after a lost answer, are done."""
    gone = HttpResponse(409, headers={**COMMON, "x-ms-error-code": "NoPendingCopyOperation"})
    async with scripted([answer(204), ConnectionResetError(), gone]) as (share, script):
        await share.abort_copy(FILE, "c")
        await share.abort_copy(FILE, "c", lease_id="l")

    assert script.lines[0] == "PUT /myshare/dir/file?comp=copy&copyid=c"
    assert script.requests[1].headers["x-ms-lease-id"] == "l"


async def test_a_copy_without_an_id(autojump_clock):
    """An answer that does not name the copy is not taken for one."""
    async with scripted([answer(202)], ONCE) as (share, _):
        with pytest.raises(errors.ProtocolError):
            await share.copy_file(FILE, SharePath.parse("other"))


def ranges(body: str, **headers: str) -> HttpResponse:
    """Return a list of ranges."""
    given = {**CHANGED, "x-ms-content-length": "9", **headers}
    return HttpResponse(200, headers=given, content=f"\ufeff{body}".encode())


async def test_pages_of_ranges(autojump_clock):
    """Ranges come over several pages where the service has them."""
    first = ranges(
        "<Ranges><Range><Start>0</Start><End>1</End></Range><NextMarker>m</NextMarker></Ranges>"
    )
    last = ranges("<Ranges><Range><Start>4</Start><End>8</End></Range></Ranges>")
    async with scripted([first, last], ONCE) as (share, script):
        found = await share.list_ranges(FILE)

    assert found.ranges == (ByteRange(0, 2), ByteRange(4, 9))
    assert "marker=m" in script.lines[1]


@pytest.mark.parametrize(
    "body",
    [
        "<Ranges><Range><Start>5</Start><End>4</End></Range></Ranges>",
        "<Ranges><Range><Start>x</Start><End>4</End></Range></Ranges>",
        "<Ranges><Range><Start>0</Start></Range></Ranges>",
        "<html/>",
        "",
    ],
)
async def test_ranges_that_are_none(body, autojump_clock):
    """A list that cannot be one is refused."""
    async with scripted([ranges(body)], ONCE) as (share, _):
        with pytest.raises(errors.ProtocolError):
            await share.list_ranges(FILE)


async def test_a_received_md5(autojump_clock):
    """The MD5 that the service saw is compared with the one that was sent."""
    wrong = answer(201, {**CHANGED, "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    async with scripted([wrong], ONCE) as (share, script):
        with pytest.raises(errors.IntegrityError) as caught:
            await share.put_range(FILE, 0, b"hello", check_md5=True)

    assert caught.value.may_have_been_applied
    assert script.requests[0].headers["content-md5"] == "XUFAKrxLKna5cZ2REBfFkg=="


def content(data: bytes, content_range: str, status: int = 206, **more: str) -> HttpResponse:
    """Return an answer to a ranged read."""
    headers = {**SHOWN, "Content-Range": content_range, **more}
    return HttpResponse(status, headers=headers, content=data)


@pytest.mark.parametrize(
    "step",
    [
        content(b"hello", "bytes 0-4/9", 200),
        content(b"hello", "bytes 1-5/9"),
        content(b"hell", "bytes 0-3/9"),
        content(b"hello", "bytes 0-4/*"),
        content(b"hello!", "bytes 0-4/9"),
        content(b"hel", "bytes 0-4/9"),
        HttpResponse(206, headers=SHOWN, content=b"hello"),
    ],
    ids=["whole", "shifted", "short", "unsized", "long", "less", "bare"],
)
async def test_wrong_ranges(step, autojump_clock):
    """A read is given only what it asked for: everything else is refused, and asked for again."""
    async with scripted([step, content(b"hello", "bytes 0-4/9")]) as (share, script):
        found = await share.get_file(FILE, ByteRange(0, 5))

    assert found.data == b"hello"
    assert len(script.requests) == 2


async def test_a_range_without_its_md5(autojump_clock):
    """An MD5 that was asked for and did not come is damage."""
    async with scripted([content(b"hello", "bytes 0-4/9")], ONCE) as (share, _):
        with pytest.raises(errors.IntegrityError, match="no MD5"):
            await share.get_file(FILE, ByteRange(0, 5), check_md5=True)


async def test_wrong_ranges_of_a_stream(autojump_clock):
    """A stream is opened only where the headers are those of what was asked for."""
    steps = [content(b"hello", "bytes 1-5/9"), content(b"hello", "bytes 0-4/9")]
    async with scripted(steps) as (share, _), share.stream_file(FILE, ByteRange(0, 5)) as stream:
        assert b"".join([chunk async for chunk in stream]) == b"hello"


async def test_writes_with_garbled_answers(autojump_clock):
    """A write whose answer cannot be read may have been applied, and its error says whose it is."""
    async with scripted([answer(201)], ONCE) as (share, _):
        with pytest.raises(errors.ProtocolError) as caught:
            await share.create_file(FILE)

    assert caught.value.may_have_been_applied
    assert (caught.value.operation, caught.value.path) == ("CreateFile", "dir/file")


@pytest.mark.parametrize(
    "body", [b"", b"<html/>", b"<ShareStats><ShareUsage>1</ShareUsage></ShareStats>"]
)
async def test_statistics_that_are_none(body, autojump_clock):
    """An answer without the number of bytes is refused."""
    async with scripted([HttpResponse(200, headers=COMMON, content=body)], ONCE) as (share, _):
        with pytest.raises(errors.ProtocolError):
            await share.get_share_statistics()


async def test_listing_shares(autojump_clock):
    """Shares come over several pages; what is no list is refused."""
    one = (
        "<Share><Name>{}</Name><Properties><Last-Modified>Mon, 27 Jan 2014 22:15:50 GMT"
        "</Last-Modified><Etag>0x1</Etag><Quota>1</Quota></Properties></Share>"
    )
    pages = [
        f"<E><Shares>{one.format('a')}{one.format('b')}</Shares><NextMarker>m</NextMarker></E>",
        f"<E><Shares>{one.format('c')}</Shares><NextMarker /></E>",
        "<E/>",
    ]
    steps = [HttpResponse(200, headers=COMMON, content=page.encode()) for page in pages]
    async with scripted(steps, ONCE) as (share, script):
        service = ShareServiceClient(share._pipeline)
        assert [item.name async for item in service.list_shares(include=["metadata"])] == [
            "a",
            "b",
            "c",
        ]
        with pytest.raises(errors.ProtocolError):
            assert [item async for item in service.list_shares()]

    assert script.lines[0] == "GET /?comp=list&include=metadata"
    assert script.lines[1].endswith("&marker=m")


async def test_a_listing_that_is_no_listing(autojump_clock):
    """XML that is not XML is repeated, then a ProtocolError that names the directory."""
    bad = HttpResponse(200, headers=COMMON, content=b"<html><p>")
    async with scripted([bad]) as (share, script):
        with pytest.raises(errors.ProtocolError) as caught:
            await share.list_page(FILE.parent)

    assert len(script.requests) == 3
    assert caught.value.path == "dir"


async def test_names_that_are_never_sent(autojump_clock):
    """A path that a URL would change is refused in every operation."""
    bad = SharePath(("a", ".."))
    async with scripted([answer(200)], ONCE) as (share, script):
        for asked in (
            share.get_file,
            share.get_file_properties,
            share.list_page,
            share.delete_file,
            share.acquire_file_lease,
            share.create_directory,
        ):
            with pytest.raises(errors.InvalidPath):
                await asked(bad)
        with pytest.raises(errors.InvalidPath):
            await share.rename_file(bad, FILE)

    assert script.requests == []


def http_answer(headers: dict[str, str], body: bytes) -> bytes:
    """Return an answer as bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def test_over_the_network(kind, monkeypatch):
    """A client opens its own connections, of the kind asked for, and closes them at the end."""
    opened = []

    def noted(**given):
        opened.append(network_transport(**given))
        return opened[0]

    monkeypatch.setattr(service_module, "network_transport", noted)
    options = ClientOptions(transport=kind)
    credentials = StaticCredentials(CREDENTIAL)
    async with serving(says(http_answer(SHOWN, b"hello"), keep=True)) as server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.port}/{ACCOUNT}", ACCOUNT)
        async with ShareServiceClient.open(endpoint, credentials, options) as service:
            assert service.endpoint == endpoint
            assert service.service_version == NEWEST
            share = service.share("myshare")
            for _ in range(3):
                assert (await share.get_file(FILE)).data == b"hello"
            (pool,) = opened
            is_fast = kind is TransportKind.FAST
            assert isinstance(pool, FastTransport if is_fast else ConnectionPool)
            assert pool.connections == (1, 0)

    assert server.connections == 1
    assert pool.connections == (0, 0)


async def test_a_connection_that_the_server_closed(kind):
    """An idle connection that the server has closed is not used again."""
    async with serving(says(http_answer(SHOWN, b"hello"))) as server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.port}/{ACCOUNT}", ACCOUNT)
        credentials = StaticCredentials(CREDENTIAL)
        options = ClientOptions(retry=NO_RETRIES, transport=kind)
        async with ShareServiceClient.open(endpoint, credentials, options) as service:
            share = service.share("myshare")
            for _ in range(3):
                await share.get_file(FILE)
                await trio.testing.wait_all_tasks_blocked(0.01)

    assert server.connections == 3


async def test_nothing_is_said_above_debug(caplog, autojump_clock):
    """The library leaves it to its observer what is worth a line: it logs nothing itself."""
    caplog.set_level(logging.INFO)
    async with scripted([ConnectionResetError()]) as (share, _):
        with pytest.raises(errors.ConnectionFailed):
            await share.get_file(FILE)

    assert caplog.records == []
