"""Local changes that meet another client's: fail, copy and overwrite, for every way to collide."""

import errno
import os
import re
from typing import Any

import pytest
import trio

from azfilesfs.client import NO_RETRIES
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.types import ExclusiveCreate, OnConflict, SetAttr
from tests.unit.vfs.harness import ROOT, expect, get, idle, inode_of, put

LOGS = pytest.mark.expect_log("conflict on", "is saved as", "is overwritten", "cannot be kept")
pytestmark = LOGS
BASE = b"0123456789" * 1000


async def change(host) -> None:
    """Change the file in place."""
    await host.put_range(SharePath(("a",)), 100, b"THEIRS")


async def replace(host) -> None:
    """Put another file in its place."""
    await put(host, "new", b"replacement")
    await host.rename_file(SharePath(("new",)), SharePath(("a",)), replace=True)


async def remove(host) -> None:
    """Remove it."""
    await host.delete_file(SharePath(("a",)))


async def recreate(host) -> None:
    """Remove it and make another of its name."""
    await remove(host)
    await put(host, "a", b"replacement")


COLLISIONS = {"changed": change, "replaced": replace, "removed": remove, "made anew": recreate}
REMOTE: dict[str, Any] = {
    "changed": BASE[:100] + b"THEIRS" + BASE[106:],
    "replaced": b"replacement",
    "removed": None,
    "made anew": b"replacement",
}


def mine(base: bytes) -> bytes:
    """Return what the local change makes of a content."""
    return b"MINE" + base[4:]


async def beside(host) -> dict[str, bytes]:
    """Return the files that were saved beside ``a``."""
    page = await host.list_page(SharePath.ROOT)
    names = [entry.name for entry in page.entries if entry.name.startswith("a (conflict")]
    return {name: await get(host, name) for name in names}


@pytest.mark.parametrize("collision", COLLISIONS)
async def test_fail(program, host, collision):
    """The remote file stays, the local bytes are kept, every call tells ESTALE."""
    await put(host, "a", BASE)
    file = await program.open("a", os.O_RDWR)
    reader = await program.open("a")
    await file.write(b"MINE")
    await COLLISIONS[collision](host)
    with expect(errno.ESTALE):
        await file.fsync()
    with expect(errno.ESTALE):
        await file.write(b"more")
    with expect(errno.ESTALE):
        await file.fsync()
    with expect(errno.ESTALE):
        await file.close()
    assert await get(host, "a") == REMOTE[collision]
    (record,) = program.staging.kept()
    assert record.path == SharePath(("a",))
    assert program.fs.statistics().dirty_files == 0
    assert file.ino in program.kernel.pages
    if REMOTE[collision] is None:
        assert not await program.exists("a")
    else:
        assert await program.read("a") == REMOTE[collision]
    if collision == "changed":
        assert await reader.read() == REMOTE[collision]
    else:
        with expect(errno.ESTALE):
            await reader.read()


@pytest.mark.parametrize("collision", COLLISIONS)
async def test_copy(mount, host, collision):
    """The local version is saved beside the remote one, and the close succeeds where both are."""
    await put(host, "a", BASE)
    async with mount(on_conflict=OnConflict.COPY, host_name="here") as program:
        file = await program.open("a", os.O_RDWR)
        await file.read()
        await file.write(b"MINE")
        await COLLISIONS[collision](host)
        if collision == "removed":
            with expect(errno.ESTALE):
                await file.close()
        else:
            await file.close()
        assert await get(host, "a") == REMOTE[collision]
        ((name, data),) = (await beside(host)).items()
        assert re.fullmatch(r"a \(conflict here \d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z\)", name)
        base = REMOTE[collision]
        if base is None:
            # Nothing of the removed file is here but what was written.
            assert data[:4] == b"MINE"
            assert len(data) == len(BASE)
        else:
            expected = b"MINE" + base[4:]
            assert data == expected + bytes(len(BASE) - len(expected))
        assert program.staging.kept() == []
        assert program.fs.statistics().dirty_files == 0
        assert name.encode() in await program.names()


@pytest.mark.parametrize("collision", COLLISIONS)
async def test_overwrite(mount, host, collision):
    """The local bytes go over the remote ones; without a base they must be whole."""
    await put(host, "a", BASE)
    async with mount(on_conflict=OnConflict.OVERWRITE) as program:
        file = await program.open("a", os.O_RDWR)
        await file.write(b"MINE")
        await COLLISIONS[collision](host)
        if collision == "removed":
            with expect(errno.ESTALE):
                await file.close()
            assert len(program.staging.kept()) == 1
            return
        await file.close()
        expected = mine(REMOTE[collision])
        found = await get(host, "a")
        assert found == expected + bytes(len(BASE) - len(expected))
        assert await program.read("a") == found
        assert program.staging.kept() == []


async def test_overwriting_a_removed_file_with_a_whole_one(mount, host):
    """Where every byte is local the file is made again."""
    await put(host, "a", BASE)
    async with mount(on_conflict=OnConflict.OVERWRITE) as program:
        file = await program.open("a", os.O_WRONLY | os.O_TRUNC)
        await file.write(b"whole content")
        await remove(host)
        await file.close()
        assert await get(host, "a") == b"whole content"
        assert await program.read("a") == b"whole content"


@pytest.mark.parametrize("policy", OnConflict)
@pytest.mark.parametrize("size", [10, 9 * MIB])
async def test_a_file_that_appears_during_a_deferred_create(mount, host, policy, size, clock):
    """A new file that another client makes first is a conflict once the absence is old."""
    data = os.urandom(size)
    async with mount(on_conflict=policy, attr_ttl=1.0, dir_ttl=1.0) as program:
        file = await program.open("a", os.O_CREAT | os.O_RDWR)
        await file.write(data)
        await put(host, "a", b"theirs, and longer than ten")
        clock.jump(5)
        if policy is OnConflict.FAIL:
            with expect(errno.ESTALE):
                await file.close()
            assert await get(host, "a") == b"theirs, and longer than ten"
            assert len(program.staging.kept()) == 1
            assert await program.read("a") == b"theirs, and longer than ten"
        elif policy is OnConflict.COPY:
            await file.close()
            assert await get(host, "a") == b"theirs, and longer than ten"
            assert list((await beside(host)).values()) == [data]
        else:
            await file.close()
            assert await get(host, "a") == data
            assert await program.read("a") == data


async def test_the_window_of_a_young_absence(mount, host):
    """While the absence is younger than the TTL a create goes unchecked, as the document says."""
    async with mount() as program:
        file = await program.open("a", os.O_CREAT | os.O_RDWR)
        await file.write(b"mine")
        await put(host, "a", b"theirs")
        await file.close()
        assert await get(host, "a") == b"mine"


@pytest.mark.parametrize("policy", OnConflict)
async def test_another_writer_between_our_ranges(mount, host, app, policy):
    """A foreign range between ours is seen by the HEAD that ends the pass."""
    await put(host, "a", bytes(9 * MIB))
    async with mount(on_conflict=policy) as program:
        file = await program.open("a", os.O_RDWR)
        data = os.urandom(9 * MIB)
        await file.write(data)
        app.faults.add(operation="GetFileProperties", path="*/a", delay=0.05, nth=2)
        outcome: list[int] = []

        async def close() -> None:
            try:
                await file.close()
            except VfsError as error:
                outcome.append(error.errno)
            else:
                outcome.append(0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            with trio.fail_after(5):
                while app.requests.of("PutRange") < 3:
                    await trio.sleep(0.001)
            await host.put_range(SharePath(("a",)), 5, b"THEIRS")
        app.faults.clear()
        await idle(program)
        if policy is OnConflict.FAIL:
            assert outcome == [errno.ESTALE]
            assert (await get(host, "a"))[5:11] == b"THEIRS"
            assert len(program.staging.kept()) == 1
        elif policy is OnConflict.COPY:
            assert outcome == [0]
            assert (await get(host, "a"))[5:11] == b"THEIRS"
            assert list((await beside(host)).values()) == [data]
        else:
            assert outcome == [0]
            assert await get(host, "a") == data


async def test_a_file_that_vanishes_between_two_requests(program, host, app):
    """A file that is removed after the check of its base is a conflict all the same."""
    await put(host, "a", bytes(9 * MIB))
    file = await program.open("a", os.O_RDWR)
    await file.write(os.urandom(9 * MIB))
    app.faults.add(operation="PutRange", delay=0.05)
    async with trio.open_nursery() as nursery:

        async def flush() -> None:
            with expect(errno.ESTALE):
                await program.fs.fsync(file.handle)

        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await remove(host)
    app.faults.clear()
    assert len(program.staging.kept()) == 1


async def test_a_lookup_that_finds_out_during_an_upload(program, host, app):
    """A listing without the file, while its ranges are being sent, ends in a kept record, once."""
    await put(host, "a", bytes(40 * MIB))
    file = await program.open("a", os.O_RDWR)
    await file.write(os.urandom(30 * MIB))
    app.faults.add(operation="PutRange", delay=0.05)
    async with trio.open_nursery() as nursery:

        async def flush() -> None:
            with expect(errno.ESTALE):
                await program.fs.fsync(file.handle)

        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await remove(host)
        inode = inode_of(program, file.ino)
        inode.checked_at = float("-inf")
        program.fs._context.tree.lose(inode)
    app.faults.clear()
    assert len(program.staging.kept()) == 1


async def test_a_lookup_finds_that_a_dirty_file_was_replaced(program, host):
    """The local changes are kept as soon as it is seen; the name shows the new file."""
    await put(host, "a", BASE)
    file = await program.open("a", os.O_RDWR)
    await file.write(b"MINE")
    await replace(host)
    program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
    assert await program.names() == [b"a"]
    number = (await program.stat("a")).ino
    assert number != file.ino
    with expect(errno.ESTALE):
        await file.close()
    assert len(program.staging.kept()) == 1
    assert await program.read("a") == b"replacement"


@pytest.mark.expect_log("could not be sent")
async def test_a_conflict_at_drain_counts_as_unsent(program, host, caplog):
    """What the end of the mount could not send is told, also where it was kept."""
    await put(host, "a", BASE)
    file = await program.open("a", os.O_RDWR)
    await file.write(b"MINE")
    await change(host)
    assert await program.fs.drain() == 1
    assert len(program.staging.kept()) == 1


async def test_a_dirty_file_that_another_client_moved(program, host):
    """The changes go where the file is, or are kept under its new name."""
    await put(host, "a", BASE)
    await host.create_directory(SharePath(("d",)))
    file = await program.open("a", os.O_RDWR)
    await file.write(b"MINE")
    await host.rename_file(SharePath(("a",)), SharePath(("d", "moved")))
    assert (await program.stat("d/moved")).ino == file.ino
    staged = inode_of(program, file.ino).dirty.staged
    assert staged.path == SharePath(("d", "moved"))
    with expect(errno.ESTALE):  # the rename gave the file another version
        await file.close()
    (record,) = program.staging.kept()
    assert record.path == SharePath(("d", "moved"))


async def test_a_conflict_by_truncation(program, host):
    """A size that was set through a handle meets a foreign change, too."""
    await put(host, "a", BASE)
    file = await program.open("a", os.O_RDWR)
    await program.fs.setattr(file.ino, SetAttr(size=3), file.handle)
    await change(host)
    with expect(errno.ESTALE):
        await file.close()
    assert await get(host, "a") == REMOTE["changed"]


async def test_a_copy_of_what_was_cut_and_grown(mount, host):
    """What was cut off locally does not come back in the copy beside."""
    await put(host, "a", BASE)
    async with mount(on_conflict=OnConflict.COPY) as program:
        file = await program.open("a", os.O_RDWR)
        await file.truncate(10)
        await file.truncate(300)
        await file.write(b"tail", 296)
        await change(host)
        await file.close()
        (data,) = (await beside(host)).values()
        assert data == BASE[:10] + bytes(286) + b"tail"


async def test_a_staging_area_that_cannot_keep(program, host, monkeypatch):
    """Where the record cannot be made the bytes stay dirty and the error is EIO."""
    await put(host, "a", BASE)
    file = await program.open("a", os.O_RDWR)
    await file.write(b"MINE")
    await change(host)
    staged = type(inode_of(program, file.ino).dirty.staged)

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(staged, "keep", refuse)
    with expect(errno.EIO):
        await file.fsync()
    monkeypatch.undo()
    assert program.fs.statistics().dirty_files == 1
    with expect(errno.ESTALE):
        await file.close()
    assert len(program.staging.kept()) == 1


async def test_a_long_name_saved_beside(mount, host):
    """The note fits behind a shortened name."""
    name = "n" * 250
    await put(host, name, BASE)
    async with mount(on_conflict=OnConflict.COPY) as program:
        file = await program.open(name, os.O_RDWR)
        await file.write(b"MINE")
        await host.put_range(SharePath((name,)), 100, b"THEIRS")
        await file.close()
        page = await host.list_page(SharePath.ROOT)
        (found,) = [entry.name for entry in page.entries if "(conflict" in entry.name]
        assert len(found) <= 255
        assert (await get(host, found))[:4] == b"MINE"


@pytest.mark.expect_log("is not on the service")
@pytest.mark.parametrize("operation", ["CopyFile", "SetFileProperties", "CreateFile", "PutRange"])
@pytest.mark.parametrize("whole", [False, True])
async def test_saving_beside_fails_first(mount, host, app, operation, whole):
    """A half copy is never left beside: it is removed, the bytes stay dirty, the next try saves."""
    await put(host, "a", BASE)
    async with mount(on_conflict=OnConflict.COPY, retry=NO_RETRIES) as program:
        flags = os.O_WRONLY | os.O_TRUNC if whole else os.O_RDWR
        file = await program.open("a", flags)
        await file.write(b"MINE")
        await change(host)
        app.faults.add(operation=operation, status=500)
        used = {"PutRange"} | ({"CreateFile"} if whole else {"CopyFile", "SetFileProperties"})
        if operation in used:
            with expect(errno.EIO):
                await file.fsync()
            assert await beside(host) == {}
        app.faults.clear()
        await file.close()
        assert len(await beside(host)) == 1


async def test_exclusive_creation_by_the_mount_with_copy(mount, host, clock):
    """The policy applies to files that were opened with O_EXCL as well."""
    async with mount(
        exclusive_create=ExclusiveCreate.MOUNT,
        on_conflict=OnConflict.COPY,
        attr_ttl=1.0,
        dir_ttl=1.0,
    ) as program:
        file = await program.create(ROOT, b"a", os.O_EXCL | os.O_WRONLY)
        await file.write(b"mine")
        await put(host, "a", b"theirs")
        clock.jump(5)
        await file.close()
        assert await get(host, "a") == b"theirs"
        assert list((await beside(host)).values()) == [b"mine"]


@pytest.mark.parametrize("policy", OnConflict)
@pytest.mark.expect_log("is not on the service", "could not be sent", "after its last close")
async def test_a_parent_that_another_client_removed(mount, host, policy):
    """A file whose directory is gone is kept; nothing can be put there."""
    async with mount(on_conflict=policy) as program:
        await program.mkdir("d")
        file = await program.open("d/a", os.O_CREAT | os.O_WRONLY)
        await file.write(b"mine")
        await host.delete_directory(SharePath(("d",)))
        with pytest.raises(VfsError) as caught:
            await file.close()
        assert caught.value.errno in {errno.ESTALE, errno.ENOENT}
        await program.fs.drain()
        kept = len(program.staging.kept())
        assert kept + program.fs.statistics().dirty_files == 1
