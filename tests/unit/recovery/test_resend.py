"""Sending kept records: into the version they stand on, and nowhere else unasked."""

import base64
import hashlib
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azfilesfs.client import ShareClient
from azfilesfs.emulator.app import EmulatorApp
from azfilesfs.errors import (
    AzureFilesError,
    ChangedDuringRead,
    FileAlreadyExists,
    IntegrityError,
    InvalidPath,
    ParentNotFound,
)
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from azfilesfs.vfs import kept, recovery, resend
from azfilesfs.vfs.kept import Layout
from azfilesfs.vfs.resend import BaseMoved, Sent, send, write_merged
from azfilesfs.vfs.staged import StagedFile

PATH = SharePath(("file",))
OTHER = SharePath(("other",))


async def content(share: ShareClient, path: SharePath = PATH) -> bytes:
    """Return a file of the share."""
    properties = await share.get_file_properties(path)
    return bytes((await share.get_file(path)).data) if properties.size else b""


async def names(share: ShareClient, path: SharePath = SharePath.ROOT) -> list[str]:
    """Return the names of a directory of the share."""
    pages = [page async for page in share.list_directories_and_files(path)]
    return [entry.name for page in pages for entry in page.entries]


def records(state: Path):
    """Return the records that are kept."""
    return kept.load_all(Layout(state))


async def test_changes_go_into_their_base(share, keep, state):
    """Only the dirty bytes are sent; the rest of the file stays, and the record goes."""
    record = await keep(lambda f: (f.write(2, b"XY"), f.write(12, b"Z")), base=b"0123456789")

    sent = await send(share, record)

    assert sent == Sent(PATH, over_newer=False)
    assert await content(share) == b"01XY456789\0\0Z"
    assert records(state) == []


async def test_a_cut_that_was_undone_is_sent_as_zeros(share, keep):
    """Bytes that were cut off locally do not come back from the service."""
    record = await keep(
        lambda f: (f.truncate(3), f.truncate(8), f.write(7, b"!")), base=b"0123456789"
    )

    await send(share, record)

    assert await content(share) == b"012\0\0\0\0!"


async def test_a_change_of_size_alone_is_sent(share, keep):
    """A record without dirty bytes may still be a cut or a growth."""
    await send(share, await keep(lambda f: f.truncate(4), base=b"0123456789"))
    assert await content(share) == b"0123"


@pytest.mark.parametrize("force", [False, True])
async def test_a_newer_version_is_not_overwritten_unasked(share, keep, state, force):
    """If the base moved nothing is sent, the line names the ways out, and force is one of them."""
    record = await keep(lambda f: f.write(0, b"mine"), base=b"0123456789")
    await share.put_range(PATH, 4, b"theirs")

    if not force:
        with pytest.raises(BaseMoved, match=r"changed on the share.*--to PATH.*--force"):
            await send(share, record)
        assert await content(share) == b"0123theirs"
        assert records(state) == [record]
    else:
        assert await send(share, record, force=True) == Sent(PATH, over_newer=True)
        assert await content(share) == b"minetheirs"
        assert records(state) == []


async def test_a_removed_file_does_not_come_back_unasked(share, keep, state):
    """A file that is gone is refused; by force it is made anew if all of it was kept."""
    record = await keep(lambda f: f.write(0, b"whole"), base=b"01234")
    await share.delete_file(PATH)
    with pytest.raises(BaseMoved, match="is gone"):
        await send(share, record)

    await send(share, record, force=True)

    assert await content(share) == b"whole"


async def test_a_removed_file_of_which_parts_are_missing_is_refused(share, keep, state, tmp_path):
    """What is gone from the share cannot be made up; the kept extents can still be had."""
    record = await keep(lambda f: f.write(0, b"part"), base=b"0123456789")
    await share.delete_file(PATH)

    for force in (False, True):
        with pytest.raises(BaseMoved, match="is gone"):
            await send(share, record, force=force)
        with pytest.raises(BaseMoved, match="--extents-only --output"):
            await send(share, record, to=OTHER, force=force)
    with pytest.raises(BaseMoved, match="is gone"):
        await write_merged(share, record, tmp_path / "out")

    assert records(state) == [record]
    recovery.write_extents(record, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"part".ljust(10, b"\0")


async def test_a_new_file_is_made_exclusively(share, keep, state):
    """A file that was never sent gets its name only if the name is free."""
    record = await keep(lambda f: (f.write(0, b"new"), f.write(9 * MIB, b"end")))
    await share.create_file(PATH, data=b"somebody else's")

    with pytest.raises(FileAlreadyExists, match=r"file exists; --force replaces it, --to PATH"):
        await send(share, record)
    assert await content(share) == b"somebody else's"
    assert await names(share, SharePath((".azfilesfs", "tmp"))) == []
    assert records(state) == [record]

    await send(share, record, to=OTHER)
    assert await content(share, OTHER) == b"new".ljust(9 * MIB, b"\0") + b"end"
    assert records(state) == []


async def test_force_replaces_what_has_the_name_of_a_new_file(share, keep):
    """By force a new file takes the name, in one step."""
    record = await keep(lambda f: f.write(0, b"new"))
    await share.create_file(PATH, data=b"somebody else's")

    await send(share, record, force=True)

    assert await content(share) == b"new"


async def test_an_empty_new_file_is_made(share, keep):
    """A file that was created and never written is sent too."""
    await send(share, await keep(lambda f: None))

    assert await content(share) == b""


async def test_another_path_gets_the_whole_file(share, keep):
    """Sent elsewhere, it is the base with the dirty bytes in it; the base stays as it is."""
    record = await keep(lambda f: f.write(2, b"XY"), base=b"0123456789")

    assert await send(share, record, to=OTHER) == Sent(OTHER, over_newer=False)

    assert await content(share, OTHER) == b"01XY456789"
    assert await content(share) == b"0123456789"


async def test_another_path_beside_a_newer_version_says_so(share, keep):
    """After a conflict the other bytes come from the newer version, and that is told."""
    record = await keep(lambda f: f.write(0, b"mine"), base=b"0123456789")
    await share.put_range(PATH, 4, b"theirs")

    assert await send(share, record, to=OTHER) == Sent(OTHER, over_newer=True)

    assert await content(share, OTHER) == b"minetheirs"


async def test_a_path_is_needed_and_must_be_right(share, keep, state):
    """A record without a path needs one, and a forbidden one is refused before any request."""
    record = await keep(lambda f: f.write(0, b"x"), path=SharePath.ROOT)

    with pytest.raises(InvalidPath, match="--to PATH"):
        await send(share, record)
    with pytest.raises(InvalidPath, match="forbids"):
        await send(share, record, to=SharePath(("a?b",)))
    with pytest.raises(ParentNotFound):
        await send(share, record, to=SharePath(("no", "such")))
    assert await resend.look(share, record) is None

    assert len(records(state)) == 1


async def test_headers_survive_and_a_stale_md5_does_not(share, keep):
    """Sending clears a stored MD5 that would be wrong, and keeps type and metadata."""
    record = await keep(lambda f: f.write(0, b"X"), base=b"0123")
    md5 = hashlib.md5(b"0123").digest()
    await share.set_file_properties(
        PATH, content=ContentHeaders(content_type="text/plain", content_md5=md5)
    )
    moved = (await share.get_file_properties(PATH)).validator()
    assert moved is not None

    await send(share, record, force=True)

    after = (await share.get_file_properties(PATH)).content
    assert (after.content_type, after.content_md5) == ("text/plain", None), base64.b64encode(md5)


async def test_an_md5_alone_is_cleared_too(share, keep):
    """Clearing the only header leaves the type that the service gives by itself."""
    record = await keep(lambda f: f.truncate(2), base=b"0123")
    await share.set_file_properties(PATH, content=ContentHeaders(content_md5=b"0" * 16))

    await send(share, record, force=True)

    assert (await share.get_file_properties(PATH)).content.content_md5 is None
    assert await content(share) == b"01"


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize("operation", ["SetFileProperties", "PutRange"])
async def test_an_interrupted_sending_can_be_repeated(
    share, keep, state, emulator: EmulatorApp, operation, effect
):
    """After a failure the record is there and, unless the answer was lost, can be sent unforced."""
    record = await keep(
        lambda f: (f.truncate(3), f.truncate(12 * MIB), f.write(0, b"a"), f.write(9 * MIB, b"b")),
        base=b"0123456789",
    )
    emulator.faults.add(operation=operation, nth=[2], status=500, effect=effect)

    with pytest.raises(AzureFilesError):
        await send(share, record)

    (left,) = records(state)
    assert (left.dirty, left.size) == (record.dirty, record.size)
    if effect:
        with pytest.raises(BaseMoved):
            await send(share, left)
    await send(share, left, force=effect)
    expected = b"a12".ljust(9 * MIB, b"\0") + b"b".ljust(3 * MIB, b"\0")
    assert await content(share) == expected


async def test_a_failure_before_anything_was_sent_changes_nothing(share, keep, state, emulator):
    """Where the first request fails the record is as it was."""
    record = await keep(lambda f: f.write(0, b"a"), base=b"0123456789")
    emulator.faults.add(operation="PutRange", status=403, code="AuthorizationFailure")

    with pytest.raises(AzureFilesError):
        await send(share, record)

    assert records(state) == [record]


async def test_a_network_that_stays_away_is_reported_once(share, keep, state, emulator):
    """Where not even the progress can be looked at, the first failure is the one that is told."""
    record = await keep(lambda f: (f.write(0, b"a"), f.write(5 * MIB, b"b")), base=b"0123456789")
    emulator.faults.add(operation="PutRange", nth=[2], status=403, code="AuthorizationFailure")
    emulator.faults.add(operation="GetFileProperties", nth=[2], status=500)

    with pytest.raises(AzureFilesError, match="PutRange"):
        await send(share, record)

    assert records(state) == [record]


async def test_a_writer_in_between_is_noticed(share, keep, state, emulator, monkeypatch):
    """A foreign change while sending is reported, and the record stays."""
    record = await keep(lambda f: f.write(0, b"mine"), base=b"0123456789")
    real = share.put_range

    async def put_range(*arguments, **keywords):
        written = await real(*arguments, **keywords)
        await real(PATH, 5, b"they")
        return written

    monkeypatch.setattr(share, "put_range", put_range)

    with pytest.raises(BaseMoved, match="while it was being sent"):
        await send(share, record)

    assert records(state) == [record]


async def test_a_version_that_moves_while_it_is_read_is_not_mixed(share, keep, state, monkeypatch):
    """A merge of two versions is never made."""
    record = await keep(lambda f: f.write(0, b"mine"), base=b"0" * MIB)
    real = share.get_file

    async def get_file(*arguments, **keywords):
        await share.put_range(PATH, 1, b"1")
        return await real(*arguments, **keywords)

    monkeypatch.setattr(share, "get_file", get_file)

    with pytest.raises(ChangedDuringRead):
        await send(share, record, to=OTHER)

    assert ".azfilesfs" in await names(share)
    assert "other" not in await names(share)
    assert records(state) == [record]


async def test_a_cancelled_sending_leaves_the_record_and_no_temp_file(
    share, keep, state, monkeypatch
):
    """Cancellation loses nothing and leaves nothing behind."""
    record = await keep(lambda f: f.write(0, b"new"))
    scope = trio.CancelScope()

    async def put_range(*_: object) -> None:
        scope.cancel()
        await trio.sleep_forever()

    monkeypatch.setattr(share, "put_range", put_range)
    with scope:
        await send(share, record)

    assert scope.cancelled_caught
    assert records(state) == [record]
    assert await names(share) == [".azfilesfs"]
    assert await names(share, SharePath((".azfilesfs", "tmp"))) == []


async def test_incomplete_bytes_are_not_sent(share, keep, state):
    """A staging file that lost its end is reported before zeros take the place of bytes."""
    record = await keep(lambda f: f.write(0, b"mine"), base=b"0123456789")
    with record.data.open("r+b") as file:
        file.truncate(2)

    with pytest.raises(IntegrityError):
        await send(share, record)

    assert await content(share) == b"0123456789"


@pytest.mark.parametrize("newer", [False, True])
async def test_the_whole_file_is_written_locally(share, keep, tmp_path, newer):
    """Shown into a file, a record is the remote version with the dirty bytes in it."""
    record = await keep(
        lambda f: (f.truncate(8), f.write(2, b"XY"), f.truncate(10)), base=b"0123456789"
    )
    if newer:
        await share.put_range(PATH, 0, b"!")

    assert await write_merged(share, record, tmp_path / "out") is newer

    first = b"!" if newer else b"0"
    assert (tmp_path / "out").read_bytes() == first + b"1XY4567\0\0"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 40), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("cut"), st.integers(0, 60), st.just(b"")),
    ),
    max_size=8,
)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40
)
@given(base=st.none() | st.binary(max_size=50), steps=STEPS, elsewhere=st.booleans())
async def test_what_is_sent_is_what_was_written(share, keep, tmp_path, base, steps, elsewhere):
    """For any history of writes and cuts the file on the service becomes the local one."""
    local = bytearray(base or b"")

    def change(file: StagedFile) -> None:
        for what, offset, data in steps:
            if what == "write":
                file.write(offset, data)
                local.extend(bytes(max(0, offset - len(local))))
                local[offset : offset + len(data)] = data
            else:
                file.truncate(offset)
                local[offset:] = bytes(max(0, offset - len(local)))

    for path in (PATH, OTHER):
        with suppress(AzureFilesError):
            await share.delete_file(path)
    out = tmp_path / "out"
    out.unlink(missing_ok=True)
    record = await keep(change, base=base)
    await write_merged(share, record, out)
    assert out.read_bytes() == local

    await send(share, record, to=OTHER if elsewhere else None)

    assert await content(share, OTHER if elsewhere else PATH) == local


async def test_parts_without_bytes_are_not_sent(share, keep, emulator):
    """Of a large sparse file only the parts with bytes cost requests."""
    record = await keep(
        lambda f: (f.write(0, b"a"), f.truncate(100 * MIB), f.write(50 * MIB, b"b"))
    )

    await send(share, record)

    assert emulator.requests.of("PutRange") == 2
    assert (await share.get_file_properties(PATH)).size == 100 * MIB
