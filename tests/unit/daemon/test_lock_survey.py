"""What the private directory of a share says of its locks, and how they are broken by hand."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from azfilesfs.client import (
    Secret,
    ShareClient,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
    asgi_transport,
)
from azfilesfs.client.endpoint import Endpoint
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.control import MountLocks
from azfilesfs.daemon.lock_breaking import Broken, break_locks, holders, name_of
from azfilesfs.daemon.lock_merge import FoundLock, LocalMount, merge, omitted
from azfilesfs.daemon.lock_survey import Survey, list_private, private_path, survey
from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.locks.about import LockRow, LockSummary, ModeName, SessionAbout, encode
from azfilesfs.vfs.locks.names import (
    DEAD,
    READERS,
    SESSIONS,
    Announcement,
    SessionFile,
    Tombstone,
    Window,
    lease_id,
)

A, B, C = (uuid.UUID(int=number).hex for number in (1, 2, 3))
WINDOW = Window(2, 4)
NUMBER = 3
FILE = SharePath(("dir", "db"))
SECOND = 10**9


class Clock:
    """The service's clock, set by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns


class World:
    """A share with sessions in whatever state."""

    def __init__(self, share: ShareClient, clock: Clock) -> None:
        self.share = share
        self.clock = clock
        self.file_id = ""

    async def prepare(self) -> None:
        """Make the directories, and a file to lock."""
        await self.share.create_directory(SharePath((".azfilesfs",)))
        for name in (SESSIONS, DEAD, READERS):
            await self.share.create_directory(SharePath((".azfilesfs", name)))
        await self.share.create_directory(FILE.parent)
        made = await self.share.create_file(FILE)
        self.file_id = str(made.file_id)

    def lock(self, mode: ModeName = "exclusive", **changes: Any) -> LockSummary:
        """Describe a lock on the file."""
        lock = LockSummary(str(FILE), self.file_id, "flock", mode, 9, "sh", self.clock.now_ns)
        return replace(lock, **changes)

    def about(self, host: str, *locks: LockSummary, more: int = 0) -> dict[str, str]:
        """Describe a session."""
        return encode(SessionAbout(host, "/mnt", 5, 6, locks, more))

    async def session(self, session: str, metadata: dict[str, str] | None = None) -> SessionFile:
        """Make a session's file."""
        file = SessionFile(session, 7, WINDOW)
        await self.share.create_file(private_path(SESSIONS, file.name), metadata=metadata)
        return file

    async def dead(self, session: str, metadata: dict[str, str] | None = None) -> Tombstone:
        """Make a tombstone."""
        tombstone = Tombstone(session, WINDOW)
        await self.share.create_file(private_path(DEAD, tombstone.name), metadata=metadata)
        return tombstone

    async def leased(self, session: str) -> None:
        """Take the lease on the file as a session does."""
        await self.share.acquire_file_lease(FILE, lease_id(session, self.file_id, NUMBER))

    async def announced(self, session: str, number: int = 1) -> None:
        """Announce a reader of the file."""
        name = Announcement(self.file_id, session, number).name
        await self.share.create_file(private_path(READERS, name))

    async def names(self, directory: str) -> list[str]:
        """Return what lies in a private directory."""
        entries, _ = await list_private(self.share, directory)
        return sorted(entry.name for entry in entries)

    async def is_leased(self) -> bool:
        """Tell whether a lease is on the file."""
        return (await self.share.get_file_properties(FILE)).lease.is_leased

    async def broken(self, *, end_sessions: bool = False) -> Broken:
        """Break the locks on the file."""
        held = await holders(self.share, FILE)
        return await break_locks(self.share, held, end_sessions=end_sessions)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Make a share whose clock stands still."""
    clock = Clock()
    options = EmulatorOptions(clock=clock, check_date=False)
    endpoint = Endpoint(f"http://127.0.0.1:10004/{DEFAULT_ACCOUNT}", DEFAULT_ACCOUNT)
    credential = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))
    async with ShareServiceClient.open(
        endpoint, StaticCredentials(credential), transport=asgi_transport(create_app(options))
    ) as service:
        share = service.share("share")
        await share.create_share(1)
        made = World(share, clock)
        await made.prepare()
        yield made


def shown(locks: list[FoundLock]) -> list[tuple[str, str, str, str]]:
    """Reduce locks to path, mode, host and state."""
    return [(one.row.path, one.row.mode, one.host, one.state) for one in locks]


# -- looking ---------------------------------------------------------------------------------------


async def test_a_share_without_locks(world: World):
    """Where our directory is missing, or empty, there is nothing."""
    assert merge(await survey(world.share), []) == []
    for name in (SESSIONS, DEAD, READERS):
        await world.share.delete_directory(SharePath((".azfilesfs", name)))
    assert await survey(world.share) == Survey()
    await world.share.delete_directory(SharePath((".azfilesfs",)))
    assert await survey(world.share) == Survey()


async def test_sessions_in_each_state(world: World):
    """Alive, stale by the service's clock, dead with a lease that is still there."""
    await world.session(B, world.about("stale", world.lock(path="b"), more=2))
    world.clock.now_ns += 61 * SECOND
    await world.session(A, world.about("alive", world.lock(path="a"), more=3))
    await world.dead(
        C, world.about("dead", world.lock(), world.lock(path="gone", file_id="9"), more=4)
    )
    await world.leased(C)
    found = await survey(world.share)

    assert shown(merge(found, [])) == [
        ("a", "exclusive", "alive", "alive"),
        ("b", "exclusive", "stale", "stale"),
        (str(FILE), "exclusive", "dead", "dead"),
    ]
    assert omitted(found, []) == 5


async def test_what_the_dead_no_longer_hold(world: World):
    """A dead session's lock is gone once its lease or its announcement is."""
    await world.dead(C, world.about("dead", world.lock(), world.lock("shared", file_id="77")))
    assert merge(await survey(world.share), []) == []

    await world.leased(A)
    assert merge(await survey(world.share), []) == []


async def test_readers(world: World):
    """A shared lock is there as long as its announcement; one unexplained is shown by its id."""
    await world.session(A, world.about("here", world.lock("shared"), world.lock("shared", pid=3)))
    await world.session(B)
    for session in (A, B, C):
        await world.announced(session)
    found = merge(await survey(world.share), [])

    assert sorted(shown(found)) == [
        ("", "shared", "", "alive"),
        ("", "shared", "", "unknown"),
        (str(FILE), "shared", "here", "alive"),
        (str(FILE), "shared", "here", "alive"),
    ]
    assert {one.row.file_id for one in found} == {world.file_id}

    name = Announcement(world.file_id, A, 1).name
    await world.share.delete_file(private_path(READERS, name))
    assert len(merge(await survey(world.share), [])) == 2


async def test_shared_ranges_beside_an_exclusive_one(world: World):
    """A mount that holds the lease needs no announcement for its shared ranges."""
    await world.session(A, world.about("here", world.lock(), world.lock("shared")))

    assert len(merge(await survey(world.share), [])) == 2


async def test_our_own_mounts_answer_for_themselves(world: World):
    """What a mount says replaces what its session said, and what is announced meanwhile."""
    await world.session(A, world.about("here", world.lock(), more=9))
    await world.announced(A)
    row = LockRow("x", "8", "fcntl", "shared", 0, 9, 1, "sh", 5, waiting=True, remote="wanted")
    found = await survey(world.share)
    mount = LocalMount("here", "/mnt", MountLocks(A, (row,), 1))

    (lock,) = merge(found, [mount])
    assert (lock.row, lock.is_local, lock.state) == (row, True, "alive")
    assert omitted(found, [mount]) == 1
    (fresh,) = merge(Survey(), [LocalMount("here", "/mnt", MountLocks(None, (row,)))])
    assert (fresh.session, fresh.state) == ("", "alive")


async def test_our_own_mount_that_was_declared_dead(world: World):
    """Its locks are shown with the state that others see."""
    await world.dead(A)
    row = LockRow("x", "8", "flock", "shared", 0, None, 1, "sh", 5, waiting=False, remote="lost")
    (lock,) = merge(await survey(world.share), [LocalMount("h", "/m", MountLocks(A, (row,)))])

    assert lock.state == "dead"


async def test_a_session_renamed_while_it_is_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """A heartbeat between the listing and the look does not hide what a session says."""
    file = await world.session(A, world.about("here", world.lock()))
    look = world.share.get_file_properties

    async def look_late(path: SharePath, **arguments: str | None) -> object:
        if path == private_path(SESSIONS, file.name):
            newer = SessionFile(A, file.generation + 1, WINDOW)
            await world.share.rename_file(path, private_path(SESSIONS, newer.name))
        return await look(path, **arguments)

    monkeypatch.setattr(type(world.share), "get_file_properties", staticmethod(look_late))
    (lock,) = merge(await survey(world.share), [])
    assert lock.host == "here"


async def test_names_and_texts_of_anybody(world: World):
    """What others put into our directory does no harm."""
    for directory in (SESSIONS, DEAD, READERS):
        await world.share.create_file(private_path(directory, "something else"))
    wide = SessionFile(A, 1, Window(0, 10**12))
    await world.share.create_file(private_path(SESSIONS, wide.name), metadata={"x": "y"})
    hostile = (world.lock(path=path) for path in ("", "a/../b", "/", "x" * 300, "a\\b", "no/where"))
    await world.dead(B, world.about("evil", *hostile))
    await world.leased(C)

    assert merge(await survey(world.share), []) == []
    held = await holders(world.share, FILE)
    assert held.lease is not None
    assert held.lease.seen is None


# -- breaking --------------------------------------------------------------------------------------


async def test_a_dead_holder(world: World):
    """Its lease is given back under its own id."""
    await world.dead(C, world.about("old", world.lock()))
    await world.leased(C)
    held = await holders(world.share, FILE)
    assert held.lease is not None
    assert name_of(held.lease.seen) == "old:/mnt"

    done = await break_locks(world.share, held, end_sessions=False)
    assert done.lines == ["released the exclusive lock of old:/mnt, which is dead"]
    assert not await world.is_leased()
    assert (await holders(world.share, FILE)).is_free


async def test_a_dead_holder_whose_lease_another_has_taken(world: World):
    """Who came first between the look and the breaking keeps the lock."""
    await world.dead(C)
    await world.leased(C)
    held = await holders(world.share, FILE)
    taken = lease_id(A, world.file_id, 0)
    await world.share.change_file_lease(FILE, lease_id(C, world.file_id, NUMBER), taken)

    with pytest.raises(CommandFailed, match="somebody else has taken the lock meanwhile"):
        await break_locks(world.share, held, end_sessions=False)
    await world.share.get_file_properties(FILE, lease_id=taken)


async def test_a_live_holder(world: World):
    """Its lease is broken, and only its: its later writes are refused."""
    await world.session(A, world.about("live", world.lock()))
    await world.leased(A)
    done = await world.broken()

    assert done.lines == [
        "broke the exclusive lock of live:/mnt: programs that hold it get EIO for what they write"
    ]
    assert not await world.is_leased()
    assert await world.names(DEAD) == []


async def test_a_live_holder_that_has_changed(world: World):
    """The lock of somebody who was not shown is not broken."""
    await world.session(A)
    await world.leased(A)
    held = await holders(world.share, FILE)
    await world.share.release_file_lease(FILE, lease_id(A, world.file_id, NUMBER))
    await world.leased(B)

    with pytest.raises(CommandFailed) as caught:
        await break_locks(world.share, held, end_sessions=False)
    assert caught.value.code == ExitCode.FAILED
    assert await world.is_leased()


async def test_a_lock_that_has_gone(world: World):
    """There is nothing left to do."""
    await world.session(A)
    await world.leased(A)
    held = await holders(world.share, FILE)
    await world.share.release_file_lease(FILE, lease_id(A, world.file_id, NUMBER))

    done = await break_locks(world.share, held, end_sessions=False)
    assert done.lines == ["the exclusive lock had gone by itself"]


async def test_a_foreign_lease(world: World):
    """A lease that no session explains is broken."""
    await world.share.acquire_file_lease(FILE)
    done = await world.broken()

    assert "a client that is no mount of azfilesfs" in done.lines[0]
    assert not await world.is_leased()


@pytest.mark.parametrize("has_place", [True, False], ids=["", "without a directory of the dead"])
async def test_a_stale_holder(world: World, *, has_place: bool):
    """It is declared dead first, so that it cannot come back; then its lease is given back."""
    if not has_place:
        await world.share.delete_directory(SharePath((".azfilesfs", DEAD)))
    await world.session(A)
    await world.leased(A)
    await world.announced(A)
    world.clock.now_ns += 61 * SECOND
    done = await world.broken()

    assert [line.split(" of ")[0] for line in done.lines] == [
        "released the exclusive lock",
        "removed 1 shared lock",
    ]
    assert await world.names(SESSIONS) == []
    assert await world.names(DEAD) == [Tombstone(A, WINDOW).name]
    assert await world.names(READERS) == []


async def test_a_stale_holder_that_lives_on(world: World):
    """Its heartbeat came first: it is taken for alive, and its lease is broken."""
    file = await world.session(A)
    await world.leased(A)
    world.clock.now_ns += 61 * SECOND
    held = await holders(world.share, FILE)
    newer = SessionFile(A, file.generation + 1, WINDOW)
    await world.share.rename_file(
        private_path(SESSIONS, file.name), private_path(SESSIONS, newer.name)
    )
    done = await break_locks(world.share, held, end_sessions=False)

    assert done.lines[0].startswith("broke the exclusive lock")
    assert await world.names(SESSIONS) == [newer.name]


async def test_live_readers_are_left_alone(world: World):
    """A reader cannot be fenced, so its lock stays unless its session is to be ended."""
    await world.session(A, world.about("reading", world.lock("shared")))
    await world.dead(B)
    for session, number in ((A, 1), (A, 2), (B, 1), (C, 1)):
        await world.announced(session, number)
    done = await world.broken()

    assert (done.remaining, done.lines) == (2, ["removed 2 shared locks"])
    assert {name.split(".")[1] for name in await world.names(READERS)} == {A}

    done = await world.broken(end_sessions=True)
    assert done.remaining == 0
    assert done.lines == [
        "ended the session of reading:/mnt: its programs get EIO under all their locks",
        "removed 2 shared locks",
    ]
    assert await world.names(SESSIONS) == []
    assert Tombstone(A, WINDOW).name in await world.names(DEAD)
    assert await world.names(READERS) == []


async def test_ending_a_session_that_beats(world: World, monkeypatch: pytest.MonkeyPatch):
    """A heartbeat in between makes the first attempt fail; the next one names what is there."""
    file = await world.session(A)
    await world.announced(A)
    held = await holders(world.share, FILE)
    rename = world.share.rename_file
    beats: list[int] = []

    async def rename_late(source: SharePath, destination: SharePath) -> object:
        if not beats:
            beats.append(1)
            newer = SessionFile(A, file.generation + 1, WINDOW)
            await rename(source, private_path(SESSIONS, newer.name))
        return await rename(source, destination)

    monkeypatch.setattr(type(world.share), "rename_file", staticmethod(rename_late))
    done = await break_locks(world.share, held, end_sessions=True)
    assert (done.remaining, await world.names(SESSIONS)) == (0, [])


async def test_an_unknown_reader_that_turns_up(world: World):
    """A session that the listing missed is found before its lock is touched."""
    await world.announced(A)
    held = await holders(world.share, FILE)
    await world.session(A)

    assert (await break_locks(world.share, held, end_sessions=False)).remaining == 1
    assert len(await world.names(READERS)) == 1


@pytest.mark.parametrize("path", ["missing", "no/where", "dir"])
async def test_what_is_no_file(world: World, path: str):
    """It is said so."""
    with pytest.raises(CommandFailed) as caught:
        await holders(world.share, SharePath.parse(path))
    assert caught.value.code == ExitCode.NOT_FOUND
