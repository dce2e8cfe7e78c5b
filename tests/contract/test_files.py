"""Contract: files, their bytes and properties."""

import hashlib

import pytest

from azfilesfs import errors
from azfilesfs.client import NOW, PRESERVE, Times
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.limits import FILE_BYTES, RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import UNKNOWN_SIZE, ContentHeaders
from azfilesfs.model.ranges import ByteRange

FILE = SharePath.parse("file")
LONG_AGO = 1_000_000_000_123_456_700


async def test_life_of_a_file(share):
    """Create, see, change and delete a file."""
    made = await share.create_file(
        FILE,
        5,
        times=Times(LONG_AGO, LONG_AGO),
        attributes=FileAttributes.HIDDEN,
        content=ContentHeaders(content_type="text/plain", cache_control="no-cache"),
        metadata={"a": "b"},
    )
    assert made.size == 5
    found = await share.get_file_properties(FILE)
    assert (found.size, found.file_id, found.metadata) == (5, made.file_id, {"a": "b"})
    assert (found.creation_time_ns, found.last_write_time_ns) == (LONG_AGO, LONG_AGO)
    assert found.attributes == FileAttributes.HIDDEN | FileAttributes.ARCHIVE
    assert (found.content.content_type, found.content.cache_control) == ("text/plain", "no-cache")
    assert found.validator() is not None

    await share.set_file_metadata(FILE, {"c": "d"})
    assert await share.get_file_metadata(FILE) == {"c": "d"}

    await share.delete_file(FILE)
    for asked in (share.get_file_properties, share.get_file, share.get_file_metadata):
        with pytest.raises(errors.FileNotFound):
            await asked(FILE)
    with pytest.raises(errors.FileNotFound):
        await share.delete_file(FILE)


async def test_create_with_data(share):
    """A small file is made with its content in one request; more room than data reads as zeros."""
    made = await share.create_file(FILE, 8, data=memoryview(b"hello"))

    content = await share.get_file(FILE)
    assert made.size == 8
    assert content.data == b"hello\0\0\0"
    assert content.properties.validator() == (await share.get_file_properties(FILE)).validator()


async def test_creating_over_a_file(share):
    """An overwritten file has new content and its old id."""
    made = await share.create_file(FILE, data=b"one", metadata={"a": "b"})
    again = await share.create_file(FILE, 2)

    assert again.file_id == made.file_id
    assert (await share.get_file(FILE)).data == b"\0\0"
    assert await share.get_file_metadata(FILE) == {}


async def test_resizing_and_times(share):
    """Cutting and growing; an explicit time is kept, an omitted one stays, ``now`` is now."""
    await share.create_file(FILE, data=b"hello", times=Times(last_write_ns=LONG_AGO))

    changed = await share.set_file_properties(FILE, size=2)
    assert changed.size == 2
    await share.set_file_properties(FILE, size=4, times=Times(last_write_ns=PRESERVE))
    found = await share.get_file_properties(FILE)
    assert (found.size, found.last_write_time_ns) == (4, LONG_AGO)
    assert (await share.get_file(FILE)).data == b"he\0\0"

    await share.set_file_properties(FILE, times=Times(last_write_ns=NOW))
    assert ((await share.get_file_properties(FILE)).last_write_time_ns or 0) > LONG_AGO
    times = Times(change_ns=LONG_AGO + 100)
    unsized = await share.set_file_properties(FILE, times=times)
    assert unsized.size == UNKNOWN_SIZE
    assert unsized.change_time_ns == LONG_AGO + 100


async def test_http_properties_are_a_group(share):
    """Giving some clears the others; a size alone leaves all; an empty group the default."""
    md5 = hashlib.md5(b"hello").digest()
    full = ContentHeaders(content_type="text/plain", content_language="en", content_md5=md5)
    await share.create_file(FILE, data=b"hello", content=full)

    await share.set_file_properties(FILE, size=5, times=Times(last_write_ns=LONG_AGO))
    found = (await share.get_file_properties(FILE)).content
    assert (found.content_type, found.content_language, found.content_md5) == (
        "text/plain",
        "en",
        md5,
    )

    await share.set_file_properties(FILE, content=ContentHeaders(content_type="text/html"))
    found = (await share.get_file_properties(FILE)).content
    assert (found.content_type, found.content_language, found.content_md5) == (
        "text/html",
        None,
        None,
    )

    await share.set_file_properties(FILE, content=ContentHeaders())
    found = (await share.get_file_properties(FILE)).content
    assert found.content_type == "application/octet-stream"


async def test_reading(share):
    """Whole, by range, beyond the end, with MD5; the answer names the range and the file's size."""
    await share.create_file(FILE, data=b"hello world")

    whole = await share.get_file(FILE, check_md5=True)
    assert (whole.data, whole.byte_range) == (b"hello world", ByteRange(0, 11))
    part = await share.get_file(FILE, ByteRange(6, 100), check_md5=True)
    assert (part.data, part.byte_range, part.properties.size) == (b"world", ByteRange(6, 11), 11)
    with pytest.raises(errors.InvalidRange) as caught:
        await share.get_file(FILE, ByteRange(11, 12))
    assert caught.value.file_size == 11
    with pytest.raises(ValueError, match="empty range"):
        await share.get_file(FILE, ByteRange(3, 3))
    with pytest.raises(ValueError, match="4 MiB"):
        await share.get_file(FILE, ByteRange(0, RANGE_BYTES + 1), check_md5=True)


async def test_an_empty_file(share):
    """Any range of an empty file is refused with its size; the whole of it is nothing."""
    await share.create_file(FILE)

    with pytest.raises(errors.InvalidRange) as caught:
        await share.get_file(FILE, ByteRange(0, 1))
    assert caught.value.file_size == 0
    assert (await share.get_file(FILE)).data == b""
    assert (await share.list_ranges(FILE)).ranges == ()


async def test_a_stored_md5(share):
    """A whole read compares with the stored MD5; a range shows it as the file's."""
    md5 = hashlib.md5(b"hello").digest()
    await share.create_file(FILE, data=b"hello", content=ContentHeaders(content_md5=md5))

    assert (await share.get_file(FILE, check_md5=True)).properties.content.content_md5 == md5
    part = await share.get_file(FILE, ByteRange(0, 2), check_md5=True)
    assert part.properties.content.content_md5 == md5
    await share.put_range(FILE, 0, b"j")
    stored = (await share.get_file_properties(FILE)).content.content_md5
    if stored == md5:
        with pytest.raises(errors.IntegrityError):
            await share.get_file(FILE, check_md5=True)


async def test_streaming(share):
    """A stream gives the same bytes chunk by chunk, whole or by range."""
    await share.create_file(FILE, data=b"hello world")

    async with share.stream_file(FILE) as stream:
        assert b"".join([chunk async for chunk in stream]) == b"hello world"
    async with share.stream_file(FILE, ByteRange(6, 8)) as stream:
        assert stream.byte_range == ByteRange(6, 8)
        assert b"".join([chunk async for chunk in stream]) == b"wo"


async def test_writing_ranges(share):
    """Update and clear; ETag and time move; with ``preserve`` the time stays."""
    await share.create_file(FILE, 20, times=Times(last_write_ns=LONG_AGO))

    first = await share.put_range(FILE, 5, b"hello", preserve_last_write=True, check_md5=True)
    found = await share.get_file_properties(FILE)
    assert (found.etag, found.last_write_time_ns) == (first.etag, LONG_AGO)
    second = await share.put_range(FILE, 10, bytearray(b"world"))
    assert second.last_write_time_ns is not None
    assert second.last_write_time_ns > LONG_AGO
    await share.clear_range(FILE, ByteRange(7, 12))

    assert (await share.get_file(FILE)).data == b"\0" * 5 + b"he" + b"\0" * 5 + b"rld" + b"\0" * 5


async def test_ranges_that_are_refused(share):
    """Past the end, too long, empty, on a missing file."""
    await share.create_file(FILE, 10)

    for attempt in (
        share.put_range(FILE, 9, b"ab"),
        share.clear_range(FILE, ByteRange(5, 11)),
    ):
        with pytest.raises(errors.InvalidRange):
            await attempt
    with pytest.raises(errors.FileTooLarge):
        await share.put_range(FILE, 0, bytes(RANGE_BYTES + 1))
    with pytest.raises(ValueError, match="at least one byte"):
        await share.put_range(FILE, 0, b"")
    with pytest.raises(ValueError, match="empty range"):
        await share.clear_range(FILE, ByteRange(1, 1))
    with pytest.raises(errors.FileNotFound):
        await share.put_range(SharePath.parse("none"), 0, b"x")


async def test_sizes_that_are_refused(share):
    """A file of more than 4 TiB, or less than nothing, or data beyond 4 MiB, are not sent."""
    for size in (-1, FILE_BYTES + 1):
        with pytest.raises(errors.FileTooLarge):
            await share.create_file(FILE, size)
        with pytest.raises(errors.FileTooLarge):
            await share.set_file_properties(FILE, size=size)
    with pytest.raises(errors.FileTooLarge):
        await share.create_file(FILE, data=bytes(RANGE_BYTES + 1))
    assert (await share.create_file(FILE, FILE_BYTES)).size == FILE_BYTES


async def test_a_full_range(share):
    """4 MiB go in one request, and come back the same."""
    data = bytes(range(256)) * (RANGE_BYTES // 256)
    await share.create_file(FILE, RANGE_BYTES)
    await share.put_range(FILE, 0, data, check_md5=True)

    content = await share.get_file(FILE, ByteRange(0, RANGE_BYTES), check_md5=True)
    assert content.data == data


async def test_listing_ranges(share):
    """Written ranges are listed, also within a window; the size comes along."""
    await share.create_file(FILE, 4096)
    await share.put_range(FILE, 0, b"x" * 512)
    written = await share.put_range(FILE, 2048, b"x" * 512)

    found = await share.list_ranges(FILE)
    assert found.ranges == (ByteRange(0, 512), ByteRange(2048, 2560))
    assert (found.file_size, found.etag) == (4096, written.etag)
    window = await share.list_ranges(FILE, ByteRange(1024, 4096))
    assert window.ranges == (ByteRange(2048, 2560),)


async def test_files_and_directories_are_told_apart(share):
    """An operation on the other kind fails as such, never silently."""
    directory = SharePath.parse("dir")
    await share.create_directory(directory)
    await share.create_file(FILE)

    with pytest.raises((errors.FileError, errors.DirectoryError)):
        await share.get_file_properties(directory)
    with pytest.raises((errors.FileError, errors.DirectoryError)):
        await share.get_directory_properties(FILE)
    with pytest.raises(errors.AzureFilesError):
        await share.delete_file(directory)


async def test_a_read_only_file(share):
    """The ReadOnly attribute stops writes, deletion and replacement, until it is cleared."""
    await share.create_file(FILE, 3, attributes=FileAttributes.READ_ONLY)
    other = SharePath.parse("other")
    await share.create_file(other)

    with pytest.raises(errors.ReadOnlyFile):
        await share.put_range(FILE, 0, b"x")
    with pytest.raises(errors.ReadOnlyFile):
        await share.delete_file(FILE)
    with pytest.raises(errors.ReadOnlyFile):
        await share.rename_file(other, FILE, replace=True)
    await share.rename_file(other, FILE, replace=True, ignore_readonly=True)
    await share.delete_file(FILE)


async def test_renaming(share):
    """The id stays, the name goes; existing files are replaced only when asked to."""
    other = SharePath.parse("other")
    made = await share.create_file(FILE, data=b"one", times=Times(last_write_ns=LONG_AGO))
    replaced = await share.create_file(other, data=b"two")

    with pytest.raises(errors.FileAlreadyExists) as caught:
        await share.rename_file(FILE, other)
    assert not caught.value.may_have_been_applied
    renamed = await share.rename_file(FILE, other, replace=True)

    assert renamed.file_id == made.file_id != replaced.file_id
    assert renamed.last_write_time_ns == LONG_AGO
    assert renamed.size == UNKNOWN_SIZE
    assert (await share.get_file(other)).data == b"one"
    with pytest.raises(errors.FileNotFound):
        await share.rename_file(FILE, SharePath.parse("x"))
    with pytest.raises(errors.ParentNotFound):
        await share.rename_file(other, SharePath.parse("no/x"))
    with pytest.raises(errors.InvalidPath):
        await share.rename_file(other, SharePath(("a|b",)))
    moved = await share.rename_file(other, FILE, times=Times(last_write_ns=LONG_AGO + 100))
    assert moved.last_write_time_ns == LONG_AGO + 100


async def test_renaming_with_metadata(share):
    """Metadata goes with the file, and is replaced by what the rename brings."""
    other = SharePath.parse("other")
    await share.create_file(FILE, metadata={"kept": "one"})

    await share.rename_file(FILE, other)
    assert await share.get_file_metadata(other) == {"kept": "one"}
    await share.rename_file(other, FILE, metadata={"new": "two"})
    assert await share.get_file_metadata(FILE) == {"new": "two"}
    with pytest.raises(errors.InvalidRequest):
        await share.rename_file(FILE, other, metadata={"new": "tw\u00f6"})


async def test_copying(share):
    """A copy at the service has content, metadata and, if wanted, times of its source."""
    other = SharePath.parse("other")
    await share.create_file(
        FILE, data=b"hello", times=Times(LONG_AGO, LONG_AGO), metadata={"a": "b"}
    )

    state = await share.copy_file(FILE, other)
    found = await share.wait_for_copy(other, state.copy_id)

    assert (await share.get_file(other)).data == b"hello"
    assert found.metadata == {"a": "b"}
    assert (found.creation_time_ns, found.last_write_time_ns) == (LONG_AGO, LONG_AGO)
    state = await share.copy_file(FILE, other, keep_times=False)
    found = await share.wait_for_copy(other, state.copy_id)
    assert (found.last_write_time_ns or 0) > LONG_AGO
    with pytest.raises(errors.CopyFailed):
        await share.abort_copy(other, state.copy_id)
    with pytest.raises(errors.CopyFailed):
        await share.wait_for_copy(other, "00000000-0000-0000-0000-000000000000")
    with pytest.raises((errors.FileNotFound, errors.CopyFailed)):
        await share.copy_file(SharePath.parse("none"), other)
