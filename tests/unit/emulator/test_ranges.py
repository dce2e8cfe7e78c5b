"""Put Range, List Ranges and what they refuse."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.emulator.harness import Caller, Reply, make_caller, put_file, put_range, read


def listed(reply: Reply) -> list[tuple[str, int, int]]:
    """Return kind, start and end of each range."""
    assert reply.status == 200
    return [
        (part.tag, int(part.findtext("Start") or 0), int(part.findtext("End") or 0))
        for part in reply.xml
        if part.tag != "NextMarker"
    ]


async def test_writing_inside_a_file(call: Caller) -> None:
    """The answer has MD5, ETag and last-write-time, and neither size nor id."""
    await put_file(call, "f", bytes(10))
    reply = await put_range(call, "f", 4, b"abc")
    assert reply.status == 201
    assert reply.headers["content-md5"] == base64.b64encode(hashlib.md5(b"abc").digest()).decode()
    assert reply.headers["x-ms-request-server-encrypted"] == "true"
    assert "x-ms-file-last-write-time" in reply.headers
    assert "x-ms-file-id" not in reply.headers
    assert await read(call, "f") == b"\0\0\0\0abc\0\0\0"


@pytest.mark.parametrize(
    ("start", "length", "write"), [(8, 3, "update"), (10, 1, "update"), (8, 3, "clear")]
)
async def test_nothing_reaches_past_the_end(
    call: Caller, start: int, length: int, write: str
) -> None:
    """Update and clear stop at the size of the file."""
    await put_file(call, "f", bytes(10))
    body = b"x" * length if write == "update" else b""
    where = f"bytes={start}-{start + length - 1}"
    reply = await call("PUT", "f?comp=range", body, ms_range=where, ms_write=write)
    assert (reply.status, reply.code) == (416, "InvalidRange")


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"ab", 400, "MissingRequiredHeader"),
        ({"ms_range": "bytes=0-1"}, b"abc", 400, "InvalidHeaderValue"),
        ({"ms_range": "bytes=0-1"}, b"", 400, "InvalidHeaderValue"),
        ({"ms_range": "bytes=0-"}, b"ab", 400, "InvalidHeaderValue"),
        ({"ms_range": "bytes=2-1"}, b"ab", 400, "InvalidHeaderValue"),
        ({"ms_range": "bytes=0-1", "ms_write": "append"}, b"ab", 400, "InvalidHeaderValue"),
        ({"ms_range": "bytes=0-1", "ms_write": "clear"}, b"ab", 400, "InvalidHeaderValue"),
        ({"ms_range": "bytes=0-1", "content_md5": "x"}, b"ab", 400, "InvalidMd5"),
        (
            {"ms_range": "bytes=0-1", "content_md5": "AAAAAAAAAAAAAAAAAAAAAA=="},
            b"ab",
            400,
            "Md5Mismatch",
        ),
        (
            {"ms_range": "bytes=0-1", "ms_file_last_write_time": "source"},
            b"ab",
            400,
            "InvalidHeaderValue",
        ),
        ({"ms_range": f"bytes=0-{4 * 1024**2}"}, bytes(4 * 1024**2 + 1), 413, None),
        ({"ms_range": f"bytes=0-{6 * 1024**2 - 1}"}, bytes(6 * 1024**2), 413, None),
    ],
)
async def test_malformed_writes(
    call: Caller, headers: dict[str, str], body: bytes, status: int, code: str | None
) -> None:
    """Each bad header or body has its code; the file stays as it was."""
    await put_file(call, "f", b"0123456789")
    fields: dict[str, str] = {"ms_write": "update", **headers}
    reply = await call("PUT", "f?comp=range", body, **fields)
    assert (reply.status, reply.code) == (status, code or "RequestBodyTooLarge")
    assert await read(call, "f") == b"0123456789"


async def test_writing_what_is_not_a_file(call: Caller) -> None:
    """A missing leaf, a missing parent and a directory each have their code."""
    await call("PUT", "d?restype=directory")
    for path, code in (
        ("no", "ResourceNotFound"),
        ("no/f", "ParentNotFound"),
        ("d", "ResourceTypeMismatch"),
        ("f/", "InvalidUri"),
    ):
        assert (await put_range(call, path, 0, b"x")).code == code


async def test_listing_is_by_sectors(call: Caller) -> None:
    """Writes show in whole sectors cut at the end; clearing frees whole sectors only."""
    await put_file(call, "f")
    assert listed(await call("GET", "f?comp=rangelist")) == []
    await call("PUT", "f?comp=properties", ms_content_length="3000")
    await put_range(call, "f", 1030, b"x")
    await put_range(call, "f", 2999, b"y")
    reply = await call("GET", "f?comp=rangelist")
    assert listed(reply) == [("Range", 1024, 1535), ("Range", 2560, 2999)]
    assert reply.headers["x-ms-content-length"] == "3000"
    assert listed(await call("GET", "f?comp=rangelist", ms_range="bytes=1100-2600")) == [
        ("Range", 1100, 1535),
        ("Range", 2560, 2600),
    ]
    await call("PUT", "f?comp=range", ms_range="bytes=1030-1200", ms_write="clear")
    assert listed(await call("GET", "f?comp=rangelist"))[0] == ("Range", 1024, 1535)
    await call("PUT", "f?comp=range", ms_range="bytes=1000-2999", ms_write="clear")
    assert listed(await call("GET", "f?comp=rangelist")) == []
    assert await read(call, "f") == bytes(3000)


async def test_ranges_are_paged_from_2026_10_06(call: Caller) -> None:
    """Pages follow by marker; older versions get all at once."""
    await call("PUT", "f", ms_type="file", ms_content_length="10240")
    for sector in range(0, 20, 4):
        await put_range(call, "f", sector * 512, b"x")
    found, marker = [], ""
    for _ in range(3):
        reply = await call("GET", f"f?comp=rangelist&maxresults=2&marker={marker}")
        found.append([start // 512 for _, start, _ in listed(reply)])
        marker = (reply.xml.findtext("NextMarker") or "").replace("!", "%21")
    assert (found, marker) == ([[0, 4], [8, 12], [16]], "")
    assert (await call("GET", "f?comp=rangelist&marker=nonsense")).status == 400
    call.version = "2026-06-06"
    assert len(listed(await call("GET", "f?comp=rangelist&maxresults=2"))) == 5


async def test_differences_since_a_snapshot(call: Caller) -> None:
    """What was written and what was cleared since then is told apart."""
    await call("PUT", "f", ms_type="file", ms_content_length="4096")
    await put_range(call, "f", 0, bytes(2048))
    first = (await call("PUT", "/share?restype=share&comp=snapshot")).headers["x-ms-snapshot"]
    await put_range(call, "f", 512, b"x" * 512)
    call.clock.advance(1)
    second = (await call("PUT", "/share?restype=share&comp=snapshot")).headers["x-ms-snapshot"]
    await call("PUT", "f?comp=range", ms_range="bytes=1024-1535", ms_write="clear")

    since_first = await call("GET", f"f?comp=rangelist&prevsharesnapshot={first}")
    assert listed(since_first) == [("Range", 512, 1023), ("ClearRange", 1024, 1535)]
    since_second = await call("GET", f"f?comp=rangelist&prevsharesnapshot={second}")
    assert listed(since_second) == [("ClearRange", 1024, 1535)]
    between = await call(
        "GET", f"f?comp=rangelist&sharesnapshot={second}&prevsharesnapshot={first}"
    )
    assert listed(between) == [("Range", 512, 1023)]
    await put_file(call, "new", b"x")
    new = await call("GET", f"new?comp=rangelist&prevsharesnapshot={first}")
    assert listed(new) == [("Range", 0, 0)]
    missing = await call("GET", "f?comp=rangelist&prevsharesnapshot=2000-01-01T00:00:00Z")
    assert missing.code == "PreviousSnapshotNotFound"


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["update", "clear", "resize"]), *[st.integers(0, 2999)] * 2),
        max_size=8,
    )
)
async def test_any_sequence_reads_as_plain_bytes(steps: list[tuple[str, int, int]]) -> None:
    """Updates, clears and resizes have the effect that they have on bytes."""
    call = make_caller()
    model = bytearray(3000)
    await put_file(call, "f", bytes(model))
    for index, (kind, one, other) in enumerate(steps):
        start, stop = min(one, other), max(one, other) + 1
        if kind == "resize":
            await call("PUT", "f?comp=properties", ms_content_length=str(start))
            await call("PUT", "f?comp=properties", ms_content_length="3000")
            model[start:] = bytes(3000 - start)
        else:
            data = bytes([index + 1]) * (stop - start) if kind == "update" else b""
            where = f"bytes={start}-{stop - 1}"
            await call("PUT", "f?comp=range", data, ms_range=where, ms_write=kind)
            model[start:stop] = data or bytes(stop - start)

    assert await read(call, "f") == bytes(model)
    shown = bytearray(3000)
    for _, first, last in listed(await call("GET", "f?comp=rangelist")):
        shown[first : last + 1] = model[first : last + 1]
    assert shown == model
