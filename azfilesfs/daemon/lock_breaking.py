"""Breaking the locks on one file by hand: who holds them, and what is done to each.

A dead session's lease is given back under its own id, which can hit nobody else; only a live
holder's, or one that is no mount's, is broken. A live reader cannot be kept from reading on but by
ending its session, which takes all of its mount's locks: that is done only where it is asked for.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from azfilesfs.client import ShareClient
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.lock_survey import (
    SeenSession,
    State,
    Survey,
    each,
    lease_of,
    list_private,
    private_path,
    survey,
)
from azfilesfs.errors import (
    FileAlreadyExists,
    FileNotFound,
    LeaseError,
    LeaseNotPresent,
    ParentNotFound,
    ResourceTypeMismatch,
)
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.locks.names import DEAD, READERS, SESSIONS, Announcement, SessionFile, Tombstone

_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Whose lease is on the file.

    Attributes:
        seen: the session; None for a lease that is no mount's.
        lease_id: its id, where a session explains it.
    """

    seen: SeenSession | None
    lease_id: str | None = None

    @property
    def state(self) -> State:
        """The session's state."""
        return "unknown" if self.seen is None else self.seen.state


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds a file."""

    path: SharePath
    found: Survey
    lease: LeaseHolder | None
    readers: tuple[Announcement, ...]

    @property
    def is_free(self) -> bool:
        """Whether nobody does."""
        return self.lease is None and not self.readers

    def live_readers(self) -> list[Announcement]:
        """Return the readers whose sessions live."""
        return [one for one in self.readers if self.found.state(one.session) == "alive"]


@dataclass(slots=True)
class Broken:
    """What was done.

    Attributes:
        lines: in words, one thing a line.
        remaining: live readers that still hold the shared lock.
    """

    lines: list[str] = field(default_factory=list)
    remaining: int = 0


def name_of(seen: SeenSession | None) -> str:
    """Name who holds a lock, for people."""
    if seen is None:
        return "a client that is no mount of azfilesfs"
    if seen.about is None:
        return f"a mount that does not say its host (session {seen.session})"
    return f"{seen.about.host}:{seen.about.mountpoint}"


async def holders(share: ShareClient, path: SharePath) -> Holders:
    """Look at who holds a file.

    Raises:
        CommandFailed: there is no such file.
        AzureFilesError: the service refuses, or does not work.
    """
    try:
        properties = await share.get_file_properties(path)
    except (FileNotFound, ParentNotFound, ResourceTypeMismatch) as error:
        raise CommandFailed(ExitCode.NOT_FOUND, f"there is no such file: {error}") from None
    file_id = str(properties.file_id)
    found = await survey(share)
    lease = await _lease(share, path, file_id, found) if properties.lease.is_leased else None
    readers = tuple(one for one in found.announcements if one.file_id == file_id)
    return Holders(path, found, lease, readers)


async def _lease(share: ShareClient, path: SharePath, file_id: str, found: Survey) -> LeaseHolder:
    sessions = list(found.sessions.values())
    ids = await each(sessions, lambda seen: lease_of(share, path, file_id, seen))
    pairs = zip(sessions, ids, strict=True)
    return next((LeaseHolder(seen, one) for seen, one in pairs if one), LeaseHolder(None))


async def break_locks(share: ShareClient, held: Holders, *, end_sessions: bool) -> Broken:
    """Take the file from whoever holds it. Cancellation leaves done what was done.

    Raises:
        CommandFailed: the holder has changed since it was looked at.
        AzureFilesError: the service refuses, or does not work.
    """
    breaking = _Breaking(share, held, end_sessions=end_sessions)
    if held.lease is not None:
        await breaking.lease(held.lease)
    for reader in held.readers:
        await breaking.reader(reader)
    done = breaking.done
    removed = len(held.readers) - done.remaining
    if removed:
        done.lines.append(f"removed {removed} shared {'lock' if removed == 1 else 'locks'}")
    return done


class _Breaking:
    """The steps of breaking, and what they have done so far."""

    def __init__(self, share: ShareClient, held: Holders, *, end_sessions: bool) -> None:
        self._share = share
        self._held = held
        self._end_sessions = end_sessions
        self._ended: set[str] = set()
        self.done = Broken()

    async def lease(self, lease: LeaseHolder) -> None:
        """Take the exclusive lock away."""
        who, path = name_of(lease.seen), self._held.path
        is_dead = lease.seen is not None and await self._is_over(lease.seen)
        try:
            if lease.lease_id is not None and is_dead:
                await self._share.release_file_lease(path, lease.lease_id)
                self.done.lines.append(f"released the exclusive lock of {who}, which is dead")
                return
            if lease.lease_id is not None:
                await self._share.get_file_properties(path, lease_id=lease.lease_id)
            await self._share.break_file_lease(path)
        except LeaseNotPresent:
            self.done.lines.append("the exclusive lock had gone by itself")
            return
        except LeaseError as error:
            raise CommandFailed(
                ExitCode.FAILED, f"somebody else has taken the lock meanwhile: {error}"
            ) from None
        self.done.lines.append(
            f"broke the exclusive lock of {who}: programs that hold it get EIO for what they write"
        )

    async def reader(self, reader: Announcement) -> None:
        """Take a shared lock away, if its session is dead or may be ended."""
        if not await self._may_remove(reader):
            self.done.remaining += 1
            return
        try:
            await self._share.delete_file(private_path(READERS, reader.name))
        except (FileNotFound, ParentNotFound):
            return

    async def _may_remove(self, reader: Announcement) -> bool:
        seen = self._held.found.sessions.get(reader.session)
        if seen is None:
            # Its file may have been missed while a heartbeat renamed it: look for it alone.
            entries, _ = await list_private(self._share, SESSIONS, f"{reader.session}.")
            return not entries
        if seen.session in self._ended or await self._is_over(seen):
            return True
        if not self._end_sessions or not await _end(self._share, seen.session):
            return False
        self._ended.add(seen.session)
        self.done.lines.append(
            f"ended the session of {name_of(seen)}: its programs get EIO under all their locks"
        )
        return True

    async def _is_over(self, seen: SeenSession) -> bool:
        """Tell whether a session is dead; a stale one is made so, unless it lives on."""
        if seen.state != "stale" or seen.file is None:
            return seen.state == "dead"
        return await _kill(self._share, seen.file) or await _is_dead(self._share, seen.session)


async def _end(share: ShareClient, session: str) -> bool:
    """Make a tombstone of a session, whichever generation it has come to; tell whether it is dead.

    A heartbeat that comes first makes the rename fail, so it is looked for again a few times.
    """
    for _ in range(_ATTEMPTS):
        entries, _now = await list_private(share, SESSIONS, f"{session}.")
        files = [one for entry in entries if (one := SessionFile.parse(entry.name)) is not None]
        if not files:
            break
        if await _kill(share, max(files, key=lambda one: one.generation)):
            return True
    return await _is_dead(share, session)


async def _kill(share: ShareClient, file: SessionFile) -> bool:
    """Make a tombstone of this generation of a session; tell whether it was still there."""
    source = private_path(SESSIONS, file.name)
    tombstone = private_path(DEAD, file.tombstone().name)
    try:
        await share.rename_file(source, tombstone)
    except ParentNotFound:
        with suppress(FileAlreadyExists):
            await share.create_directory(tombstone.parent, attributes=FileAttributes.HIDDEN)
        return await _kill(share, file)
    except (FileNotFound, FileAlreadyExists):
        return False
    return True


async def _is_dead(share: ShareClient, session: str) -> bool:
    entries, _ = await list_private(share, DEAD, f"{session}.")
    return any(Tombstone.parse(entry.name) is not None for entry in entries)
