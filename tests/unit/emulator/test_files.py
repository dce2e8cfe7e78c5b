"""Files: creation, properties, times and ETags, reading."""

import base64
import hashlib

import pytest

from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import EmulatorOptions
from azfilesfs.model.times import etag_of, format_iso
from tests.unit.emulator.harness import (
    START_NS,
    Caller,
    FakeClock,
    make_caller,
    make_directory,
    put_file,
    put_range,
    read,
    rename,
)

PAST = "2020-02-03T04:05:06.7890123Z"
SMB_HEADERS = {
    "x-ms-file-permission-key",
    "x-ms-file-attributes",
    "x-ms-file-creation-time",
    "x-ms-file-last-write-time",
    "x-ms-file-change-time",
    "x-ms-file-id",
    "x-ms-file-parent-id",
}


def later(ns: int) -> str:
    """Return the time that many nanoseconds after the start, as sent."""
    return format_iso(START_NS + ns)


async def test_a_new_file(call: Caller) -> None:
    """The answer has all SMB properties; attributes default to Archive; times are equal."""
    call.clock.advance(1)
    reply = await call("PUT", "f", ms_type="file", ms_content_length="10")

    assert reply.status == 201
    assert reply.headers.keys() >= SMB_HEADERS
    assert reply.headers["x-ms-file-attributes"] == "Archive"
    assert reply.headers["x-ms-file-creation-time"] == later(10**9)
    assert reply.headers["x-ms-file-last-write-time"] == later(10**9)
    assert reply.headers["etag"] == etag_of(START_NS + 10**9)
    assert reply.headers["x-ms-file-parent-id"] == "0"
    shown = await call("HEAD", "F")
    assert shown.headers["content-length"] == "10"
    assert shown.headers["content-type"] == "application/octet-stream"
    assert shown.headers["x-ms-type"] == "File"
    assert await read(call, "f") == bytes(10)


async def test_overwriting_keeps_the_id_and_nothing_else(call: Caller) -> None:
    """Content, metadata, attributes and times are new; delete and create gives a new id."""
    first = await put_file(call, "f", b"old", ms_meta_a="1", ms_file_attributes="Hidden")
    first = await call("HEAD", "f")
    call.clock.advance(5)
    again = await put_file(call, "F")
    assert again.headers["x-ms-file-id"] == first.headers["x-ms-file-id"]
    shown = await call("HEAD", "f")
    assert "x-ms-meta-a" not in shown.headers
    assert shown.headers["x-ms-file-attributes"] == "Archive"
    assert shown.headers["x-ms-file-creation-time"] == later(5 * 10**9)
    assert shown.headers["content-length"] == "0"
    await call("DELETE", "f")
    other = await put_file(call, "f")
    assert other.headers["x-ms-file-id"] != first.headers["x-ms-file-id"]


async def test_explicit_properties_of_a_new_file(call: Caller) -> None:
    """Times and attributes are honoured; the ETag is the creation time that was sent."""
    reply = await put_file(
        call,
        "f",
        ms_file_creation_time=PAST,
        ms_file_last_write_time=later(100),
        ms_file_change_time=later(200),
        ms_file_attributes="readonly|Hidden",
        ms_content_type="text/plain",
        ms_content_language="de",
        ms_cache_control="no-store",
        ms_meta_Key="Value",
    )
    assert reply.headers["x-ms-file-creation-time"] == PAST
    assert reply.headers["x-ms-file-last-write-time"] == later(100)
    assert reply.headers["x-ms-file-change-time"] == later(200)
    assert reply.headers["x-ms-file-attributes"] == "ReadOnly | Hidden | Archive"
    assert reply.headers["last-modified"] == "Mon, 03 Feb 2020 04:05:06 GMT"
    shown = (await call("HEAD", "f")).headers
    assert (shown["content-type"], shown["content-language"]) == ("text/plain", "de")
    assert (shown["cache-control"], shown["x-ms-meta-Key"]) == ("no-store", "Value")


async def test_the_plain_content_type_is_stored(call: Caller) -> None:
    """Create File takes Content-Type where x-ms-content-type is absent."""
    await put_file(call, "f", content_type="application/xml")
    assert (await call("HEAD", "f")).headers["content-type"] == "application/xml"


async def test_restored_attributes_are_taken_as_they_are(call: Caller) -> None:
    """With the semantics Restore nothing is added to the attributes."""
    reply = await put_file(
        call, "f", ms_file_attributes="Hidden", ms_file_property_semantics="Restore"
    )
    assert reply.headers["x-ms-file-attributes"] == "Hidden"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"ms_content_length": "-1"}, 400, "OutOfRangeInput"),
        ({"ms_content_length": str(4 * 1024**4 + 1)}, 400, "OutOfRangeInput"),
        ({"ms_content_length": "many"}, 400, "InvalidHeaderValue"),
        ({"ms_content_length": ""}, 400, "MissingRequiredHeader"),
        ({"ms_type": "blob"}, 400, "InvalidHeaderValue"),
        ({"ms_file_attributes": "Sparkling"}, 400, "InvalidHeaderValue"),
        ({"ms_file_creation_time": "yesterday"}, 400, "InvalidHeaderValue"),
        ({"ms_file_permission": "O:BAG:SY"}, 400, "FileInvalidPermission"),
        ({"ms_file_permission_key": "1*2"}, 400, "FileInvalidPermissionKey"),
        ({"ms_content_md5": "not base64"}, 400, "InvalidMd5"),
        ({"ms_meta_": "x"}, 400, "EmptyMetadataKey"),
        ({"ms_meta_a-b": "x"}, 400, "InvalidMetadata"),
        ({"ms_meta_long": "x" * 8200}, 400, "MetadataTooLarge"),
    ],
)
async def test_malformed_creations(
    call: Caller, headers: dict[str, str], status: int, code: str
) -> None:
    """Each bad header has its code, and nothing is created."""
    fields: dict[str, str] = {"ms_type": "file", "ms_content_length": "1", **headers}
    reply = await call("PUT", "f", **fields)
    assert (reply.status, reply.code) == (status, code)
    assert (await call("HEAD", "f")).status == 404


async def test_older_versions_require_what_newer_ones_default(call: Caller) -> None:
    """Up to 2021-04-10 attributes, times and permission are mandatory."""
    call.version = "2020-02-10"
    reply = await call("PUT", "f", ms_type="file", ms_content_length="1")
    assert (reply.status, reply.code) == (400, "MissingRequiredHeader")
    fields = {
        "ms_file_attributes": "None",
        "ms_file_creation_time": "now",
        "ms_file_last_write_time": "now",
        "ms_file_permission": "inherit",
    }
    assert (await put_file(call, "f", **fields)).status == 201
    del fields["ms_file_permission"]
    reply = await call("PUT", "f", ms_type="file", ms_content_length="1", **fields)
    assert reply.code == "MissingRequiredHeader"


async def test_create_with_data(call: Caller) -> None:
    """From 2026-06-06 a body of up to 4 MiB comes with the creation; older versions refuse it."""
    data = b"0123456789" * 1000
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()
    fields = {"ms_type": "file", "ms_content_length": str(len(data) + 5)}
    reply = await call("PUT", "f", data, **fields, content_md5=digest)
    assert (reply.status, reply.headers["content-md5"]) == (201, digest)
    assert await read(call, "f") == data + bytes(5)
    ranges = await call("GET", "f?comp=rangelist")
    assert ranges.xml.findtext("Range/End") == str(len(data) + 4)

    wrong = await call("PUT", "f", data[1:], **fields, content_md5=digest)
    assert (wrong.status, wrong.code) == (400, "Md5Mismatch")
    short = await call("PUT", "f", data, ms_type="file", ms_content_length="5")
    assert (short.status, short.code) == (400, "InvalidHeaderValue")
    size = str(4 * 1024**2 + 1)
    large = await call("PUT", "f", bytes(int(size)), ms_type="file", ms_content_length=size)
    assert (large.status, large.code) == (413, "RequestBodyTooLarge")
    call.version = "2026-04-06"
    old = await call("PUT", "f", data, **fields)
    assert (old.status, old.code) == (400, "InvalidHeaderValue")
    assert await read(call, "f") == data + bytes(5)


async def test_what_changes_which_time(call: Caller) -> None:
    """ETag, last-write, change and creation time after each operation, as recorded."""
    await put_file(call, "f", b"12345")
    await make_directory(call, "d")
    creation = later(0)

    async def after(seconds: int, *expected: str) -> None:
        """Compare ETag, last-write and change time with ``now`` or an earlier one."""
        headers = (await call("HEAD", "f")).headers
        now = later(seconds * 10**9)
        assert headers["etag"] == etag_of(call.clock())
        assert headers["x-ms-file-creation-time"].startswith(creation[:19])
        assert headers["x-ms-file-last-write-time"] == (now if "write" in expected else write)
        assert headers["x-ms-file-change-time"] == now

    write = (await call("HEAD", "f")).headers["x-ms-file-last-write-time"]
    call.clock.advance(1)
    await call("PUT", "f?comp=metadata", ms_meta_a="1")
    await after(1)
    call.clock.advance(1)
    await put_range(call, "f", 0, b"x", ms_file_last_write_time="preserve")
    await after(2)
    call.clock.advance(1)
    await call("PUT", "f?comp=properties", ms_content_length="4")
    await after(3)
    call.clock.advance(1)
    await rename(call, "f", "d/f")
    await rename(call, "d/f", "f")
    headers = (await call("HEAD", "f")).headers
    assert headers["x-ms-file-last-write-time"] == write
    call.clock.advance(1)
    await put_range(call, "f", 0, b"y")
    await after(5, "write")


async def test_put_range_of_old_versions_keeps_the_times(call: Caller) -> None:
    """Before 2021-06-08 only the ETag moved."""
    await put_file(call, "f", b"1")
    before = (await call("HEAD", "f")).headers
    call.clock.advance(1)
    call.version = "2021-04-10"
    reply = await put_range(call, "f", 0, b"2")
    assert "x-ms-file-last-write-time" not in reply.headers
    after = (await call("HEAD", "f")).headers
    assert after["etag"] != before["etag"]
    assert after["x-ms-file-last-write-time"] == before["x-ms-file-last-write-time"]
    assert after["x-ms-file-change-time"] == before["x-ms-file-change-time"]


async def test_children_do_not_touch_their_directory(call: Caller) -> None:
    """Creating, deleting and renaming children leaves the directory's times and ETag alone."""
    await make_directory(call, "d")
    before = (await call("GET", "d?restype=directory")).headers
    call.clock.advance(1)
    await put_file(call, "d/f")
    await rename(call, "d/f", "g")
    await make_directory(call, "d/e")
    await call("DELETE", "d/e?restype=directory")
    after = (await call("GET", "d?restype=directory")).headers
    assert {name: after[name] for name in SMB_HEADERS | {"etag"}} == {
        name: before[name] for name in SMB_HEADERS | {"etag"}
    }


async def test_ticks_are_distinct_unless_equal_ones_are_wanted() -> None:
    """A standing clock still gives every change its own ETag, or the same on demand."""
    for equal_ticks, count in ((False, 3), (True, 1)):
        call = make_caller(equal_ticks=equal_ticks)
        await put_file(call, "f", b"123")
        etags = [(await put_range(call, "f", 0, b"x")).headers["etag"] for _ in range(3)]
        assert len(set(etags)) == count


async def test_set_properties_by_groups(call: Caller) -> None:
    """One HTTP property clears the others; size alone keeps them; nothing at all clears them."""
    fields = {"ms_content_type": "text/plain", "ms_cache_control": "no-store"}
    await put_file(call, "f", b"12345", **fields)

    await call("PUT", "f?comp=properties", ms_content_length="3")
    shown = (await call("HEAD", "f")).headers
    assert (shown["content-type"], shown["content-length"]) == ("text/plain", "3")
    await call("PUT", "f?comp=properties", ms_content_language="fr")
    shown = (await call("HEAD", "f")).headers
    assert shown["content-language"] == "fr"
    assert "content-type" not in shown
    assert "cache-control" not in shown
    await call("PUT", "f?comp=properties", ms_file_last_write_time=PAST)
    shown = (await call("HEAD", "f")).headers
    assert shown["x-ms-file-last-write-time"] == PAST
    assert "content-language" not in shown


async def test_shrinking_drops_bytes(call: Caller) -> None:
    """What was cut off reads as zeros after growing again; preserve and none keep and clear."""
    await put_file(call, "f", b"abcdef", ms_file_attributes="System")
    await call("PUT", "f?comp=properties", ms_content_length="2")
    await call("PUT", "f?comp=properties", ms_content_length="6")
    assert await read(call, "f") == b"ab\0\0\0\0"
    kept = await call("PUT", "f?comp=properties", ms_file_attributes="preserve")
    assert kept.headers["x-ms-file-attributes"] == "System | Archive"
    none = await call("PUT", "f?comp=properties", ms_file_attributes="None")
    assert none.headers["x-ms-file-attributes"] == "None"


async def test_read_only_files(call: Caller) -> None:
    """ReadOnly blocks writes and deletion until the attribute is cleared."""
    await put_file(call, "f", b"data")
    await call("PUT", "f?comp=properties", ms_file_attributes="ReadOnly")
    for reply in (
        await put_range(call, "f", 0, b"x"),
        await call("DELETE", "f"),
        await call("PUT", "f", ms_type="file", ms_content_length="0"),
        await call("PUT", "f?comp=metadata"),
        await call("PUT", "f?comp=properties", ms_content_length="1"),
    ):
        assert (reply.status, reply.code) == (409, "ReadOnlyAttribute")
    assert await read(call, "f") == b"data"
    await call("PUT", "f?comp=properties", ms_file_attributes="None")
    assert (await call("DELETE", "f")).status == 202


async def test_reading_ranges(call: Caller) -> None:
    """No range is 200, any range is 206, ends are cut at the end of the file."""
    await put_file(call, "f", b"0123456789")
    whole = await call("GET", "f")
    assert (whole.status, whole.headers["accept-ranges"]) == (200, "bytes")
    for text, body, shown in (
        ("bytes=0-9", b"0123456789", "bytes 0-9/10"),
        ("bytes=3-5", b"345", "bytes 3-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ):
        reply = await call("GET", "f", ms_range=text)
        assert (reply.status, reply.body) == (206, body)
        assert reply.headers["content-range"] == shown
    plain = await call("GET", "f", range="bytes=1-2")
    assert plain.body == b"12"
    both = await call("GET", "f", range="bytes=1-2", ms_range="bytes=0-0")
    assert both.body == b"0"
    for text in ("bytes=10-", "bytes=11-12"):
        reply = await call("GET", "f", ms_range=text)
        assert (reply.status, reply.code) == (416, "InvalidRange")
        assert reply.headers["content-range"] == "bytes */10"
    for text in ("bytes=-3", "bytes=5-2", "lines=1-2", "bytes=0-1,3-4"):
        reply = await call("GET", "f", ms_range=text)
        assert (reply.status, reply.code) == (400, "InvalidHeaderValue")


async def test_any_range_of_an_empty_file_is_refused(call: Caller) -> None:
    """An empty file reads without a range only."""
    await put_file(call, "f")
    reply = await call("GET", "f", ms_range="bytes=0-0")
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */0")
    assert await read(call, "f") == b""


async def test_md5_of_ranges_and_files(call: Caller) -> None:
    """A range's MD5 is computed when asked for, up to 4 MiB; the stored one moves aside."""
    await put_file(call, "f", b"0123456789", ms_content_md5="AAAAAAAAAAAAAAAAAAAAAA==")
    reply = await call("GET", "f", ms_range="bytes=2-3", ms_range_get_content_md5="true")
    assert reply.headers["content-md5"] == base64.b64encode(hashlib.md5(b"23").digest()).decode()
    assert reply.headers["x-ms-content-md5"] == "AAAAAAAAAAAAAAAAAAAAAA=="
    assert (await call("GET", "f")).headers["content-md5"] == "AAAAAAAAAAAAAAAAAAAAAA=="
    assert (await call("HEAD", "f")).headers["content-md5"] == "AAAAAAAAAAAAAAAAAAAAAA=="
    refused = await call("GET", "f", ms_range_get_content_md5="true")
    assert refused.code == "InvalidHeaderValue"
    await call("PUT", "f?comp=properties", ms_content_length=str(5 * 1024**2))
    refused = await call("GET", "f", ms_range="bytes=0-", ms_range_get_content_md5="true")
    assert refused.code == "OutOfRangeInput"


async def test_large_files_are_streamed(call: Caller) -> None:
    """A whole file beyond 4 MiB arrives complete."""
    await call("PUT", "f", ms_type="file", ms_content_length=str(9 * 1024**2 + 3))
    await put_range(call, "f", 5 * 1024**2, b"middle")
    body = await read(call, "f")
    assert len(body) == 9 * 1024**2 + 3
    assert body[5 * 1024**2 : 5 * 1024**2 + 6] == b"middle"


async def test_errors_on_head_have_no_body(call: Caller) -> None:
    """The code is in the header only."""
    reply = await call("HEAD", "missing")
    assert (reply.status, reply.code, reply.body) == (404, "ResourceNotFound", b"")
    assert "content-length" not in reply.headers


async def test_common_headers(call: Caller) -> None:
    """Every answer has request id, version, date and server; the client's id is echoed."""
    first = await call("GET", "missing", ms_client_request_id="mine")
    second = await call("HEAD", "missing", ms_client_request_id="x" * 1025)
    for reply in (first, second):
        assert reply.headers["x-ms-request-id"].endswith("000000")
        assert reply.headers["x-ms-version"] == call.version
        assert reply.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
        assert reply.headers["server"].startswith("Windows-Azure-File/1.0")
    assert first.headers["x-ms-client-request-id"] == "mine"
    assert "x-ms-client-request-id" not in second.headers
    assert first.headers["x-ms-request-id"] != second.headers["x-ms-request-id"]
    assert first.body.startswith(b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>')
    assert "RequestId:" in (first.xml.findtext("Message") or "")


async def test_metadata_is_replaced_as_a_whole(call: Caller) -> None:
    """Files and directories have metadata, kept as spelled."""
    await put_file(call, "f")
    await make_directory(call, "d", ms_meta_Old="1")
    for target in ("f?comp=metadata", "d?restype=directory&comp=metadata"):
        await call("PUT", target, ms_meta_One="1", ms_meta_two="2")
        await call("PUT", target, ms_meta_Three="3")
        shown = (await call("GET", target)).headers
        assert {name for name in shown if name.startswith("x-ms-meta")} == {"x-ms-meta-Three"}
        assert (await call("HEAD", target)).status == 200


def test_the_clock_may_go_back() -> None:
    """Changes get later ticks even where the machine's clock steps back."""
    clock = FakeClock()
    service = create_app(EmulatorOptions(clock=clock)).service
    first = service.clock.tick()
    clock.advance(-10)
    assert service.clock.tick() > first
