"""Whole files up and down: sizes, order, memory, changes underway."""

import io
import random

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import (
    ClientOptions,
    NewFile,
    ShareServiceClient,
    StaticCredentials,
    Times,
    TransferOptions,
    asgi_transport,
    download,
    upload,
)
from azfilesfs.model.limits import MIB, RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from tests.unit.client.conftest import EMULATOR, EMULATOR_CREDENTIAL

FILE = SharePath.parse("file")
LONG_AGO = 1_000_000_000_000_000_000
PARALLEL = TransferOptions(parallel=3, parallel_from=0, check_md5=True)


class Pieces:
    """A source that gives at most so many bytes at once, and counts what it gave."""

    def __init__(self, data: bytes, most: int = 1_000_003) -> None:
        self.stream = io.BytesIO(data)
        self.most = most

    async def read(self, size: int, /) -> bytes:
        """Return some bytes."""
        await trio.lowlevel.checkpoint()
        return self.stream.read(min(size, self.most))


class Sink:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, data: bytes | memoryview, /) -> None:
        """Keep it."""
        await trio.lowlevel.checkpoint()
        self.data += data


def pattern(size: int) -> bytes:
    """Return bytes that differ from range to range, the same each time."""
    return random.Random(0).randbytes(size)


SIZES = [0, 1, RANGE_BYTES - 1, RANGE_BYTES, RANGE_BYTES + 1, 3 * RANGE_BYTES, 3 * RANGE_BYTES + 5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [TransferOptions(), PARALLEL], ids=["serial", "parallel"])
async def test_round_trip(size, options, share):
    """What goes up comes down the same, whatever the size."""
    data = pattern(size)

    sent = await upload(share, FILE, Pieces(data), size, options=options)
    sink = Sink()
    got = await download(share, FILE, sink, options=options)

    assert bytes(sink.data) == data
    assert sent.size == got.size == size
    assert sent.etag == got.etag


async def test_a_small_file_is_one_request(app, share):
    """Up to 4 MiB one request goes up, and one comes down."""
    await upload(share, FILE, Pieces(b"hello"), 5)
    await download(share, FILE, Sink())

    assert app.requests.total() == 2


async def test_without_create_with_data(app):
    """An older service version gets a create and a range."""
    options = ClientOptions(version="2025-05-05")
    credentials = StaticCredentials(EMULATOR_CREDENTIAL)
    async with ShareServiceClient.open(
        EMULATOR, credentials, options, transport=asgi_transport(app)
    ) as service:
        await upload(service.share("data"), FILE, Pieces(b"hello"), 5)

    assert app.requests.of("PutRange") == 1


async def test_properties_of_an_uploaded_file(share):
    """Type, metadata and times of a new file are kept, also where ranges were written after."""
    new = NewFile(
        content=ContentHeaders(content_type="text/plain"),
        metadata={"a": "b"},
        times=Times(last_write_ns=LONG_AGO),
    )

    for size in (5, RANGE_BYTES + 5):
        made = await upload(share, FILE, Pieces(pattern(size)), size, new=new)
        found = await share.get_file_properties(FILE)
        assert made.etag == found.etag
        assert (found.size, found.metadata) == (size, {"a": "b"})
        assert found.content.content_type == "text/plain"
        assert found.last_write_time_ns == LONG_AGO


@pytest.mark.parametrize("size", [10, RANGE_BYTES + 10])
async def test_a_source_that_ends_early(size, share):
    """Fewer bytes than promised are an error, not a file with zeros."""
    with pytest.raises(ValueError, match="early"):
        await upload(share, FILE, Pieces(pattern(size - 1)), size)


async def test_a_source_that_fails(share):
    """An error of the source comes out as it is."""

    class Broken(Pieces):
        async def read(self, size: int, /) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        await upload(share, FILE, Broken(b""), RANGE_BYTES + 1)


async def test_a_refused_range_ends_the_upload(app, share):
    """The first error of a range ends the others and comes out as it is."""
    app.faults.add(operation="PutRange", nth=[2], status=403, code="AuthorizationFailure")

    with pytest.raises(errors.AuthorizationFailure):
        await upload(share, FILE, Pieces(pattern(20 * MIB)), 20 * MIB, options=PARALLEL)


async def test_a_sink_that_fails(share):
    """An error of the sink comes out as it is."""
    await upload(share, FILE, Pieces(pattern(12 * MIB)), 12 * MIB)

    class Full(Sink):
        async def write(self, data: bytes | memoryview, /) -> None:
            if self.data:
                raise OSError("no space")
            await super().write(data)

    with pytest.raises(OSError, match="no space"):
        await download(share, FILE, Full(), options=PARALLEL)


class Meddling(Sink):
    """A sink that lets another writer in after the first range."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act = act

    async def write(self, data: bytes | memoryview, /) -> None:
        """Keep it, and meddle once."""
        if not self.data:
            await self.act()
        await super().write(data)


@pytest.mark.parametrize("options", [TransferOptions(), PARALLEL], ids=["serial", "parallel"])
async def test_a_file_that_changes(options, share):
    """A change, a replacement or a cut during a download is noticed."""
    size = 12 * MIB

    async def change():
        await share.put_range(FILE, 0, b"changed")

    async def cut():
        await share.set_file_properties(FILE, size=RANGE_BYTES)

    for act in (change, cut):
        await upload(share, FILE, Pieces(pattern(size)), size)
        with pytest.raises(errors.ChangedDuringRead):
            await download(share, FILE, Meddling(act), options=options)


async def test_a_file_that_vanishes(share):
    """A deletion during a download is FileNotFound."""
    await upload(share, FILE, Pieces(pattern(12 * MIB)), 12 * MIB)

    async def delete():
        await share.delete_file(FILE)

    with pytest.raises(errors.FileNotFound):
        await download(share, FILE, Meddling(delete))


async def test_no_more_than_the_window_is_fetched(share):
    """While the sink does not take a range, no more than the window is asked for."""
    size = 12 * RANGE_BYTES
    await share.create_file(FILE, size)
    asked: list[int] = []
    plain = share.get_file

    async def counting(path, byte_range, **more):
        asked.append(byte_range.start)
        return await plain(path, byte_range, **more)

    share.get_file = counting

    class Slow(Sink):
        written = 0

        async def write(self, data: bytes | memoryview, /) -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(asked) <= Slow.written + 1 + 2 + 1
            Slow.written += 1

    await download(share, FILE, Slow(), options=TransferOptions(parallel=2, parallel_from=0))

    assert Slow.written == 12


async def test_a_snapshot_is_downloaded_as_it_was(share):
    """A download of a snapshot does not see later changes."""
    await upload(share, FILE, Pieces(b"old"), 3)
    snapshot = await share.create_snapshot()
    await upload(share, FILE, Pieces(b"new"), 3)
    sink = Sink()

    await download(share, FILE, sink, snapshot=snapshot)

    assert sink.data == b"old"


async def test_a_leased_file(share):
    """With its lease a file is written and read."""
    await upload(share, FILE, Pieces(b"one"), 3)
    options = TransferOptions(lease_id=(await share.acquire_file_lease(FILE)).lease_id)

    size = RANGE_BYTES + 1
    await upload(share, FILE, Pieces(pattern(size)), size, options=options)
    sink = Sink()
    await download(share, FILE, sink, options=options)

    assert len(sink.data) == size
    with pytest.raises(errors.LeaseIdMissing):
        await upload(share, FILE, Pieces(b"two"), 3)


def test_widths():
    """Several ranges at once are for files beyond 1 GiB."""
    options = TransferOptions()

    assert options.width(1024 * MIB) == 1
    assert options.width(1024 * MIB + 1) == 8
