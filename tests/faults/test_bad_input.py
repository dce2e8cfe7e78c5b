"""What a program or the service should not say: an errno, one log line, and life goes on.

A program's bad argument is no warning; a fault of the service is one line of WARNING or above.
"""

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from azfilesfs.client import ClientOptions, ShareClient
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from tests.faults.harness import Answer, Journal, answering, is_listing, listing_of, number_of, xml
from tests.semantics.harness import Host, Request, World, get, put

FILE = SharePath.parse("file")
COMPLAINT = pytest.mark.expect_log("")


async def still_works(host: Host, share: ShareClient) -> None:
    """Check that the filesystem reads, writes and lists as ever."""
    await put(share, "check", b"from elsewhere")
    host.fs._context.tree.listings.expire(host.fs._context.inodes.root)
    assert await host.read(b"check") == b"from elsewhere"
    await host.write(b"check", b"from here")
    assert await get(share, "check") == b"from here"
    assert b"check" in await host.listdir()
    assert host.fs.statistics().dirty_files == 0


# -- a program's bad arguments -------------------------------------------------------------------

LONG_PATH = b"/".join([b"d" * 200] * 10)
NAMES = {
    "device": (b"NUL", errno.EINVAL),
    "device in small letters": (b"lpt9", errno.EINVAL),
    "stand-in code point": ("a\uf022b".encode(), errno.EINVAL),
    "256 characters": (b"n" * 256, errno.ENAMETOOLONG),
    "256 UTF-16 units": ("\N{GRINNING FACE}".encode() * 128, errno.ENAMETOOLONG),
    "not UTF-8": (b"caf\xe9", errno.EILSEQ),
    "surrogate": (b"\xed\xa0\x80", errno.EILSEQ),
    "too long when mapped": (b":" * 256, errno.ENAMETOOLONG),
}
CALLS: dict[str, Callable[[Host, bytes], Any]] = {
    "lookup": lambda host, name: host.fs.lookup(1, name),
    "create": lambda host, name: host.fs.create(1, name, os.O_CREAT | os.O_WRONLY),
    "mkdir": lambda host, name: host.fs.mkdir(1, name),
    "symlink": lambda host, name: host.fs.symlink(1, name, b"target"),
    "unlink": lambda host, name: host.fs.unlink(1, name),
    "rmdir": lambda host, name: host.fs.rmdir(1, name),
    "rename": lambda host, name: host.fs.rename(1, b"file", 1, name, 0),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", NAMES)
async def test_forbidden_name(world: World, journal: Journal, kind: str, call: str):
    """Each call refuses it with the errno and one line at DEBUG, and changes nothing."""
    name, expected = NAMES[kind]
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"content")
        journal.clear()

        with world.counted() as requests:
            number = await number_of(call, lambda: CALLS[call](here, name))

        assert number == expected
        assert set(requests) <= {"ListDirectoriesAndFiles"}
        assert journal.complaints() == []
        assert len(journal.refusals()) == 1
        assert await get(share, "file") == b"content"
        await still_works(here, share)


@pytest.mark.parametrize("call", ["create", "mkdir", "symlink"])
async def test_path_over_2048(world: World, journal: Journal, call: str):
    """A name that makes the path too long is ENAMETOOLONG, with one line at DEBUG."""
    async with world.mount() as here, world.client() as share:
        folder = b""
        for _ in range(10):
            folder += (b"/" if folder else b"") + b"d" * 200
            await here.mkdir(folder)
        async with here.found(folder) as attrs:
            journal.clear()
            long_call = {
                "create": lambda: here.fs.create(attrs.ino, b"n" * 200, os.O_CREAT | os.O_WRONLY),
                "mkdir": lambda: here.fs.mkdir(attrs.ino, b"n" * 200),
                "symlink": lambda: here.fs.symlink(attrs.ino, b"n" * 200, b"target"),
            }[call]
            assert await number_of(call, long_call) == errno.ENAMETOOLONG

        assert journal.complaints() == []
        assert len(journal.refusals()) == 1
        assert await here.listdir(folder) == []
        await still_works(here, share)


async def test_directory_whose_contents_would_be_too_deep(world: World, journal: Journal):
    """More than 250 levels are ENAMETOOLONG."""
    async with world.mount() as here, world.client() as share:
        deep = SharePath(("d",) * 249)
        for depth in range(1, 250):
            await share.create_directory(SharePath(deep.components[:depth]))
        folder = b"/".join([b"d"] * 249)
        await here.mkdir(folder + b"/e")
        async with here.found(folder + b"/e") as attrs:
            journal.clear()
            assert (
                await number_of("mkdir", lambda: here.fs.mkdir(attrs.ino, b"f"))
                == errno.ENAMETOOLONG
            )
        assert journal.complaints() == []
        assert len(journal.refusals()) == 1


@pytest.mark.parametrize(
    ("number", "expected"), [(2**64 - 1, errno.EBADF), (0, errno.EBADF), (7, errno.EBADF)]
)
async def test_handle_that_is_none(world: World, journal: Journal, number: int, expected: int):
    """A handle that was never given out is EBADF."""
    async with world.mount() as here:
        for operation in (
            lambda: here.fs.read(number, 0, 1),
            lambda: here.fs.write(number, 0, b"x"),
            lambda: here.fs.flush(number),
            lambda: here.fs.releasedir(number),
        ):
            assert await number_of("read", operation) == expected
        assert journal.complaints() == []


async def test_write_beyond_the_largest_file(world: World, journal: Journal):
    """A write or truncation past 4 TiB is EFBIG and changes nothing."""
    async with world.mount() as here, world.client() as share:
        file = await here.create(b"file")
        await file.pwrite(b"content")
        journal.clear()

        assert await number_of("write", lambda: file.pwrite(b"x", 4 << 40)) == errno.EFBIG
        assert await number_of("setattr", lambda: file.truncate((4 << 40) + 1)) == errno.EFBIG

        assert journal.complaints() == []
        assert len(journal.refusals()) == 2
        await file.close()
        assert await get(share, "file") == b"content"


# -- listings ------------------------------------------------------------------------------------

HOSTILE = ["..", ".", "a%2Fb", "nul%00byte", "..%2F..%2Fetc", "%ED%A0%80"]


@pytest.mark.semantics("S9.4")
@pytest.mark.expect_log("cannot be shown and are left out")
@pytest.mark.parametrize("name", HOSTILE)
async def test_listing_with_a_hostile_name(world: World, journal: Journal, name: str):
    """It is left out with one warning; the other names are shown, and it cannot be looked up."""
    async with world.mount() as here, world.client() as share:
        with answering(world, is_listing, lambda request: listing_of("good", name, "also")):
            assert await here.listdir() == [b"good", b"also"]
            assert len(journal.complaints()) == 1
            journal.clear()
            for local in (b"..", b".", b"a/b", b"nul\0byte"):
                found = await number_of("lookup", partial(here.fs.lookup, 1, local))
                assert found in {errno.EINVAL, errno.ENOENT}
            assert journal.complaints() == []
        assert here.fs.statistics().inodes == 1
        await still_works(here, share)


@pytest.mark.semantics("S9.4")
@pytest.mark.expect_log("cannot be shown and are left out")
async def test_many_hostile_names(world: World, journal: Journal):
    """However many there are, it is one line that tells their number."""
    async with world.mount() as here:
        names = [*HOSTILE, "good"]
        with answering(world, is_listing, lambda request: listing_of(*names)):
            assert await here.listdir() == [b"good"]
        (line,) = journal.complaints()
        assert str(len(HOSTILE)) in line


async def test_listing_that_names_one_file_twice(world: World, journal: Journal):
    """Two entries that differ only in case are shown as one name, and nothing breaks."""
    async with world.mount() as here, world.client() as share:
        with answering(world, is_listing, lambda request: listing_of("Same", "SAME")):
            assert await here.listdir() == [b"Same"]
        await still_works(here, share)
        assert journal.complaints() == []


BODIES = {
    "not XML": b"<html><body>Sign in to the hotel network",
    "nothing": b"",
    "cut off": b'<?xml version="1.0"?><EnumerationResults><Entries><File><Name>a</Na',
    "another document": b'<?xml version="1.0"?><Shares><Share/></Shares>',
    "an entity": b'<!DOCTYPE a [<!ENTITY b "c">]><EnumerationResults>&b;</EnumerationResults>',
    "no name": b"<EnumerationResults><Entries><File><Properties><Content-Length>1</Content-Length>"
    b"</Properties></File></Entries></EnumerationResults>",
    "no number": b"<EnumerationResults><Entries><File><Name>a</Name><Properties><Content-Length>x"
    b"</Content-Length></Properties></File></Entries></EnumerationResults>",
    "negative size": b"<EnumerationResults><Entries><File><Name>a</Name><Properties>"
    b"<Content-Length>-1</Content-Length></Properties></File></Entries></EnumerationResults>",
    "NUL": b"<EnumerationResults><Entries><File><Name>a\0b</Name></File></Entries>"
    b"</EnumerationResults>",
    "not UTF-8": b'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Entries><File><Name>'
    b"\xff\xfe</Name></File></Entries></EnumerationResults>",
}


@COMPLAINT
@pytest.mark.parametrize("kind", BODIES)
async def test_listing_that_is_none(world: World, journal: Journal, kind: str):
    """It is EIO with one line, never an empty or partial directory."""
    async with world.mount() as here, world.client() as share:
        handle = await here.fs.opendir(1)
        with answering(world, is_listing, lambda request: xml(BODIES[kind])):
            assert await number_of("readdir", lambda: here.fs.readdir(handle, 0)) == errno.EIO
        assert len(journal.complaints()) == 1
        await here.fs.releasedir(handle)
        await still_works(here, share)


@COMPLAINT
async def test_marker_that_leads_in_a_circle(world: World, journal: Journal, mock_clock: MockClock):
    """A listing whose next marker is always the same ends with an error, not never."""
    page = b"<EnumerationResults><Entries /><NextMarker>again</NextMarker></EnumerationResults>"
    async with world.mount() as here:
        handle = await here.fs.opendir(1)
        with answering(world, is_listing, lambda request: xml(page)):
            assert await number_of("readdir", lambda: here.fs.readdir(handle, 0)) == errno.EIO
        assert len(journal.complaints()) == 1
        await here.fs.releasedir(handle)


# -- reads ---------------------------------------------------------------------------------------


def content_of(body: bytes, size: int, etag: str = '"0x8DE28F0A0B0C0D0"', **headers: str) -> Answer:
    """Make an answer to Get File with a file's headers."""
    return Answer(
        206,
        {
            "etag": etag,
            "last-modified": "Sat, 21 Nov 2026 12:00:00 GMT",
            "content-length": str(len(body)),
            "content-type": "application/octet-stream",
            "content-range": f"bytes 0-{size - 1}/{size}",
            "x-ms-type": "File",
            "x-ms-file-id": "9300000000000000001",
            "x-ms-file-parent-id": "0",
            "x-ms-file-attributes": "Archive",
            "x-ms-file-creation-time": "2026-11-21T12:00:00.0000000Z",
            "x-ms-file-last-write-time": "2026-11-21T12:00:00.0000000Z",
            "x-ms-file-change-time": "2026-11-21T12:00:00.0000000Z",
            "x-ms-file-permission-key": "1*2",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        body,
    )


SIZE = 1000
ANSWERS: dict[str, Callable[[], Answer]] = {
    "body shorter than Content-Length": lambda: content_of(b"x" * 500, SIZE, content_length="1000"),
    "body longer than Content-Length": lambda: content_of(b"x" * 1000, SIZE, content_length="500"),
    "shorter than the range": lambda: content_of(b"x" * 999, SIZE),
    "another range": lambda: content_of(b"x" * 1000, SIZE, content_range="bytes 1-1000/1001"),
    "range behind its size": lambda: content_of(b"x" * 1000, SIZE, content_range="bytes 0-999/500"),
    "range in nonsense": lambda: content_of(b"x" * 1000, SIZE, content_range="bytes all/1000"),
    "no range": lambda: content_of(b"x" * 1000, SIZE, content_range=""),
    "no ETag": lambda: content_of(b"x" * 1000, SIZE, etag=""),
    "no file id": lambda: content_of(b"x" * 1000, SIZE, x_ms_file_id=""),
    "file id in nonsense": lambda: content_of(b"x" * 1000, SIZE, x_ms_file_id="-1"),
    "length in nonsense": lambda: content_of(b"x" * 1000, SIZE, content_length="many"),
    "not the service": lambda: Answer(
        200, {"x-ms-request-id": "", "content-length": "5"}, b"login"
    ),
}


@COMPLAINT
@pytest.mark.parametrize("kind", ANSWERS)
async def test_content_that_contradicts_itself(world: World, journal: Journal, kind: str):
    """It is EIO with one line; no byte of it is shown, nor kept for the next read."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"y" * SIZE)
        async with here.found(b"file") as attrs:
            journal.clear()
            with answering(world, lambda request: request.is_get, lambda request: ANSWERS[kind]()):
                number = await number_of("open", lambda: here.fs.open_file(attrs.ino, os.O_RDONLY))
            assert number == errno.EIO
            assert len(journal.complaints()) == 1

        assert await here.read(b"file") == b"y" * SIZE
        await still_works(here, share)


@COMPLAINT
async def test_body_that_ends_early_in_mid_file(world: World, journal: Journal):
    """A descriptor that met such an answer reads on when the service has come to its senses."""
    async with world.mount() as here, world.client() as share:
        content = os.urandom(9 * MIB)
        await put(share, "file", content)
        file = await here.open(b"file")
        journal.clear()

        with world.faults({"operation": "GetFile", "truncate": 10}):
            assert await number_of("read", lambda: file.pread(MIB, 8 * MIB)) == errno.EIO
        assert len(journal.complaints()) == 1

        assert await file.read() == content
        await file.close()
        await still_works(here, share)


async def test_broken_answer_that_is_asked_for_again(
    world: World, journal: Journal, autojump_clock: MockClock
):
    """Where a second attempt succeeds the program notices nothing and the log has no warning."""
    async with world.mount(client=ClientOptions()) as here, world.client() as share:
        await put(share, "file", b"content")
        with world.faults({"operation": "GetFile", "cut": "body", "nth": 1}):
            assert await here.read(b"file") == b"content"
        assert journal.complaints() == []


async def test_etag_that_changes_once_in_mid_read(world: World, journal: Journal):
    """The read is done again, shows one version, and is worth no warning."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"a" * 6 * MIB)
        file = await here.open(b"file")

        first_part_sent = trio.Event()

        async def note() -> None:
            first_part_sent.set()

        async def rewrite() -> None:
            await first_part_sent.wait()
            await share.put_range(FILE, 3 * MIB, b"b" * 2 * MIB)

        world.after(lambda request: request.is_get and not is_second_part(request), note)
        world.before(lambda request: request.is_get and is_second_part(request), rewrite)
        seen = await file.pread(2 * MIB, 3 * MIB)

        assert seen == b"b" * 2 * MIB
        assert journal.complaints() == []
        await file.close()
        await still_works(here, share)


def is_second_part(request: Request) -> bool:
    """Tell whether a request reads from 4 MiB on."""
    return request.headers["x-ms-range"].startswith(f"bytes={4 * MIB}-")


@COMPLAINT
async def test_etag_that_changes_at_each_request(world: World, journal: Journal):
    """A file that is another one at each request is ESTALE with one line."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", bytes(6 * MIB))
        file = await here.open(b"file")
        journal.clear()

        async def touch(scope: object) -> None:
            await share.put_range(FILE, 0, b"x")

        world.front.before.append(touch)
        assert await number_of("read", lambda: file.pread(2 * MIB, 3 * MIB)) == errno.ESTALE
        world.front.before.remove(touch)

        assert len(journal.complaints()) == 1
        assert await file.pread(1, 0) == b"x"
        await file.close()
        await still_works(here, share)


# -- writes --------------------------------------------------------------------------------------


def written(**headers: str) -> Answer:
    """Make an answer to a write with these headers and nothing else."""
    return Answer(201, {"content-length": "0", **headers}, b"")


WRITES: dict[str, Callable[[], Answer]] = {
    "no ETag": lambda: written(**{"last-modified": "Sat, 21 Nov 2026 12:00:00 GMT"}),
    "time in nonsense": lambda: written(etag='"0x1"', **{"last-modified": "yesterday"}),
    "not the service": lambda: written(**{"x-ms-request-id": ""}),
    "an error page": lambda: Answer(502, {"content-length": "5"}, b"<html"),
    "an error without a code": lambda: Answer(400, {"content-length": "3"}, b"bad"),
    "an unknown code": lambda: Answer(
        409, {"x-ms-error-code": "NeverHeardOf", "content-length": "0"}, b""
    ),
}


@COMPLAINT
@pytest.mark.parametrize("kind", WRITES)
async def test_answer_to_a_write_that_makes_no_sense(world: World, journal: Journal, kind: str):
    """fsync tells it with one line; the bytes stay, and go with the next one."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"before")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"after!")
        journal.clear()

        with answering(world, lambda request: request.is_put_range, lambda request: WRITES[kind]()):
            # By its status alone a 409 says that somebody has the file in use.
            expected = errno.EBUSY if kind == "an unknown code" else errno.EIO
            assert await number_of("fsync", file.fsync) == expected
        assert len(journal.complaints()) == 1
        assert await file.read() == b"after!"

        await file.fsync()
        assert await get(share, "file") == b"after!"
        await file.close()
        await still_works(here, share)


def is_head(request: Request) -> bool:
    """Tell whether a request asks for the properties of a file."""
    return request.is_head


@COMPLAINT
async def test_conflict_is_one_line(world: World, journal: Journal):
    """A lost race is ESTALE with one line, which names the kept record."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"before")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"ours")
        await put(share, "file", b"theirs")
        journal.clear()

        assert await number_of("flush", file.flush) == errno.ESTALE
        (line,) = journal.complaints()
        assert here.kept()[0].id in line

        await file.release()
        assert await get(share, "file") == b"theirs"
        await still_works(here, share)
