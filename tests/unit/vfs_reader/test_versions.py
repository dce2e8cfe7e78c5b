"""One read never mixes two versions, and answers that do not fit are refused."""

import errno
from dataclasses import replace

import pytest
import trio

from azfilesfs import errors
from azfilesfs.cache import BLOCK_BYTES
from azfilesfs.model.limits import MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.errors import VfsError


async def test_changed_file_is_read_anew(reader, share, inode, autojump_clock):
    """A file that changed gives the new bytes, and its inode learns of the version."""
    share.write(5 * MIB)

    assert await reader.read(inode, 0, 10 * MIB, None) == share.content
    assert [answer.etag for answer in inode.answers] == [share.properties.etag]
    assert inode.validator == share.validator


async def test_change_between_two_ranges_is_not_mixed(reader, share, inode, autojump_clock):
    """If the version moves after the first of several ranges, all bytes are of the new one."""
    old = share.content

    def change_once(_) -> None:
        if len(share.requests) == 8 and share.content is old:
            share.write(len(old))

    share.before_answer = change_once
    await reader.read(inode, 0, 4 * MIB, None)

    assert await reader.read(inode, 0, 30 * MIB, None) == share.content[: 30 * MIB]
    assert share.content is not old


async def test_cached_half_and_fetched_half_are_of_one_version(
    reader, share, inode, autojump_clock
):
    """Blocks of an old version in the cache are not joined with fresh ones of another."""
    await reader.read(inode, 0, BLOCK_BYTES, None)
    share.write(len(share.content))

    assert await reader.read(inode, 0, 2 * BLOCK_BYTES, None) == share.content[: 2 * BLOCK_BYTES]


async def test_file_that_never_rests_is_given_up(reader, share, inode, autojump_clock):
    """A file that changes with every answer ends in an error after a few attempts."""
    share.before_answer = lambda _: share.write(len(share.content))

    with pytest.raises(errors.ChangedDuringRead, match="changed 5 times"):
        await reader.read(inode, 0, 8 * MIB, None)
    assert len(share.requests) <= 10


@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
async def test_cut_file_gives_what_is_left(reader, share, inode, size, autojump_clock):
    """A file that became shorter than the range asked for is read up to its new end."""
    share.write(size)

    assert await reader.read(inode, 2 * MIB, 2 * MIB, None) == share.content[2 * MIB :]
    assert inode.validator.size == size


async def test_grown_file_is_read_to_its_new_end(reader, share, inode, autojump_clock):
    """A file that grew is seen with its new size by the read that finds out."""
    share.write(len(share.content) + MIB)
    offset = len(share.content) - MIB - 10

    assert await reader.read(inode, offset, 2 * MIB, None) == share.content[offset:]


async def test_another_file_is_stale(reader, share, inode, autojump_clock):
    """If the path belongs to another file now, the inode's ESTALE is what the read gives."""
    inode.refuse = VfsError(errno.ESTALE, "replaced")
    share.file_id += 1

    with pytest.raises(VfsError, match="ESTALE"):
        await reader.read(inode, 0, 100, None)
    assert len(share.requests) == 1


async def test_old_news_are_not_told(reader, share, inode, autojump_clock):
    """An answer about a version that the inode itself has left meanwhile does not take it back."""
    share.latency = 10
    first = share.properties

    async def our_upload() -> None:
        await trio.sleep(5)
        share.write(len(share.content))
        inode.validator = share.validator

    share.shape = lambda answer: (
        replace(answer, properties=replace(first, etag='"between"'))
        if len(share.requests) == 1
        else answer
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(our_upload)
        data = await reader.read(inode, 0, 100, None)

    assert data == share.content[:100]
    assert inode.answers == []


async def test_inode_that_keeps_its_version_still_reads_one(reader, share, inode, autojump_clock):
    """An inode may stand by its version during our upload: the answer's is read whole."""
    share.write(len(share.content))
    inode.observed = inode.answers.append

    assert await reader.read(inode, 0, 6 * MIB, None) == share.content[: 6 * MIB]
    assert len(inode.answers) == 1


async def test_answers_of_another_version_are_cached_for_it(reader, share, inode, autojump_clock):
    """The bytes that revealed another version are not fetched a second time."""
    share.write(len(share.content))

    await reader.read(inode, 0, BLOCK_BYTES, None)

    assert share.ranges == [(0, BLOCK_BYTES)]


async def test_partial_answer_of_the_same_version_is_believed(reader, share, inode, autojump_clock):
    """An answer without file id and change time is compared by ETag and size."""
    share.shape = lambda answer: replace(
        answer, properties=replace(answer.properties, file_id=None, change_time_ns=None)
    )

    assert await reader.read(inode, 0, 100, None) == share.content[:100]


async def test_other_version_without_full_validator(reader, share, inode, autojump_clock):
    """Another version that cannot be named is not mixed and not cached: the read is given up."""
    share.write(len(share.content))
    share.shape = lambda answer: replace(
        answer, properties=replace(answer.properties, change_time_ns=None)
    )

    with pytest.raises(errors.ChangedDuringRead):
        await reader.read(inode, 0, 100, None)


async def test_answer_without_etag_is_refused(reader, share, inode, autojump_clock):
    """An answer that does not name its version cannot be believed."""
    share.shape = lambda answer: replace(answer, properties=replace(answer.properties, etag=None))

    with pytest.raises(errors.ProtocolError, match="no ETag"):
        await reader.read(inode, 0, 100, None)


@pytest.mark.parametrize(
    "bend",
    [
        lambda answer: replace(answer, data=answer.data[:-1]),
        lambda answer: replace(answer, data=answer.data + b"x"),
        lambda answer: replace(answer, byte_range=ByteRange(1, answer.byte_range.stop + 1)),
        lambda answer: replace(
            answer,
            data=answer.data[:10],
            byte_range=ByteRange(answer.byte_range.start, answer.byte_range.start + 10),
        ),
    ],
    ids=["short body", "long body", "other range", "partial range"],
)
async def test_answer_for_another_range_is_refused(reader, share, inode, bend, autojump_clock):
    """A body or a Content-Range that does not fit the request fails the read and is not cached."""
    share.shape = bend
    with pytest.raises(errors.IntegrityError, match="asked for"):
        await reader.read(inode, 0, 100, None)

    share.shape = lambda answer: answer
    assert await reader.read(inode, 0, 100, None) == share.content[:100]


async def test_refused_range_of_an_unchanged_file_is_an_error(reader, share, inode, autojump_clock):
    """The refusal of a range inside the size of the very same version is passed on."""

    def refuse(_) -> None:
        raise errors.InvalidRange("no", status=416)

    share.before_answer = refuse

    with pytest.raises(errors.InvalidRange):
        await reader.read(inode, 0, 100, None)


async def test_damaged_other_version_is_not_cached(reader, share, inode, autojump_clock):
    """An answer of another version whose length is wrong is good for nothing but its headers."""
    share.write(len(share.content))
    share.shape = lambda answer: (
        replace(answer, data=answer.data[:-1]) if len(share.requests) == 1 else answer
    )

    assert await reader.read(inode, 0, 100, None) == share.content[:100]
    assert len(share.requests) == 2
