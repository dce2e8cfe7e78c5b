"""Who holds which lock on a share: what its private directory says.

It is a picture of some seconds ago: sessions tell of their locks with each heartbeat. Nothing is
changed here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

import trio

from azfilesfs.client import ShareClient
from azfilesfs.errors import (
    DirectoryNotFound,
    FileNotFound,
    InvalidPath,
    LeaseError,
    ParentNotFound,
    ResourceTypeMismatch,
)
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ListedEntry
from azfilesfs.vfs.locks.about import SessionAbout, decode
from azfilesfs.vfs.locks.contention import is_stale
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
from azfilesfs.vfs.locks.requests import Entry
from azfilesfs.vfs.types import PRIVATE_DIRECTORY

State = Literal["alive", "stale", "dead", "unknown"]
T = TypeVar("T")
R = TypeVar("R")

_PRIVATE: Final = SharePath((PRIVATE_DIRECTORY,))
_AT_ONCE: Final = 16
_NUMBERS: Final = 256
"""How many of a session's lease numbers are tried: its name may say anything."""
_LOOKS: Final = 3
"""How often a session's file is looked for that is renamed by its heartbeats meanwhile."""


@dataclass(frozen=True, slots=True)
class SeenSession:
    """A session as it was found.

    Attributes:
        file: the generation that was seen, None for a dead one.
        tombstone: of a dead one.
        about: what it said of itself last.
    """

    session: str
    state: State
    window: Window
    file: SessionFile | None = None
    tombstone: Tombstone | None = None
    about: SessionAbout | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What the private directory of a share says; empty where there is none.

    Attributes:
        confirmed: (session, file id) of dead ones whose lease is still on the file.
    """

    service_ns: int = 0
    sessions: Mapping[str, SeenSession] = field(default_factory=dict)
    announcements: tuple[Announcement, ...] = ()
    confirmed: frozenset[tuple[str, str]] = frozenset()

    def state(self, session: str) -> State:
        """Return the state of a session; one of which nothing is found is unknown."""
        seen = self.sessions.get(session)
        return "unknown" if seen is None else seen.state


async def survey(share: ShareClient) -> Survey:
    """Look at all sessions, tombstones and announcements of a share.

    Raises:
        AzureFilesError: the service refuses, or does not work.
    """
    found: dict[str, tuple[tuple[ListedEntry, ...], int]] = {}

    async def look(directory: str) -> None:
        found[directory] = await list_private(share, directory)

    async with trio.open_nursery() as nursery:
        for directory in (SESSIONS, DEAD, READERS):
            nursery.start_soon(look, directory)
    service_ns = max(moment for _, moment in found.values())
    sessions = {one.session: one for one in _living(*found[SESSIONS])}
    # A tombstone is stronger: the session's file was listed before it became one.
    sessions |= {one.session: one for one in _dead(found[DEAD][0])}
    told = await each(sessions.values(), lambda one: _with_about(share, one))
    seen = {one.session: one for one in told}
    readers = tuple(
        one for entry in found[READERS][0] if (one := Announcement.parse(entry.name)) is not None
    )
    confirmed = await _confirmed(share, seen.values())
    return Survey(service_ns, seen, readers, confirmed)


async def list_private(
    share: ShareClient, directory: str, prefix: str = ""
) -> tuple[tuple[ListedEntry, ...], int]:
    """List a directory below ``/.azfilesfs``, all pages; return the service's clock too.

    One that does not exist is empty, at time 0.

    Raises:
        AzureFilesError: the service refuses, or does not work.
    """
    entries: list[ListedEntry] = []
    marker, service_ns = None, None
    while True:
        try:
            page = await share.list_page(_PRIVATE.child(directory), marker=marker, prefix=prefix)
        except (DirectoryNotFound, ParentNotFound):
            return (), service_ns or 0
        service_ns = service_ns or page.service_time_ns
        entries += page.entries
        marker = page.next_marker
        if marker is None:
            return tuple(entries), service_ns


def private_path(directory: str, name: str) -> SharePath:
    """Return the path of a private file."""
    return _PRIVATE.child(directory).child(name)


def _living(entries: Iterable[ListedEntry], service_ns: int) -> list[SeenSession]:
    seen = []
    for entry in entries:
        file = SessionFile.parse(entry.name)
        if file is not None:
            modified_ns = entry.properties.last_modified_ns or 0
            stale = is_stale(file, Entry(entry.name, modified_ns), service_ns)
            state: State = "stale" if stale else "alive"
            seen.append(SeenSession(file.session, state, file.window, file))
    # A listing may show two generations of a session; the newer one counts.
    return sorted(seen, key=lambda one: one.file.generation if one.file else 0)


def _dead(entries: Iterable[ListedEntry]) -> list[SeenSession]:
    tombstones = (Tombstone.parse(entry.name) for entry in entries)
    return [
        SeenSession(one.session, "dead", one.window, tombstone=one)
        for one in tombstones
        if one is not None
    ]


async def _with_about(share: ShareClient, seen: SeenSession) -> SeenSession:
    """Add what a session says of itself; its file may be renamed at any moment."""
    if seen.tombstone is not None:
        if seen.tombstone.clean:
            return seen
        about = await _about(share, private_path(DEAD, seen.tombstone.name))
        return _replaced(seen, about)
    file = seen.file
    for _ in range(_LOOKS):
        if file is None:
            break
        about = await _about(share, private_path(SESSIONS, file.name))
        if about is not None:
            return _replaced(seen, about)
        entries, _now = await list_private(share, SESSIONS, f"{seen.session}.")
        newest = _living(entries, 0)
        file = newest[-1].file if newest else None
    return seen


def _replaced(seen: SeenSession, about: SessionAbout | None) -> SeenSession:
    return SeenSession(seen.session, seen.state, seen.window, seen.file, seen.tombstone, about)


async def _about(share: ShareClient, path: SharePath) -> SessionAbout | None:
    try:
        properties = await share.get_file_properties(path)
    except (FileNotFound, ParentNotFound):
        return None
    return decode(properties.metadata)


async def _confirmed(
    share: ShareClient, sessions: Iterable[SeenSession]
) -> frozenset[tuple[str, str]]:
    """Return which leases that dead sessions tell of are still there."""
    asked = [
        (seen, lock.path, lock.file_id)
        for seen in sessions
        if seen.state == "dead" and seen.about is not None
        for lock in seen.about.locks
        if lock.mode == "exclusive"
    ]

    async def look(one: tuple[SeenSession, str, str]) -> bool:
        seen, path, file_id = one
        try:
            where = SharePath.parse(path)
        except InvalidPath:
            return False
        if where.is_root:
            return False
        return await lease_of(share, where, file_id, seen) is not None

    held = await each(asked, look)
    return frozenset(
        (seen.session, file_id)
        for (seen, _, file_id), is_held in zip(asked, held, strict=True)
        if is_held
    )


async def lease_of(
    share: ShareClient, path: SharePath, file_id: str, seen: SeenSession
) -> str | None:
    """Return the lease id under which a session holds a file; None where it does not.

    Raises:
        AzureFilesError: the service refuses, or does not work.
    """
    for number in seen.window.numbers()[:_NUMBERS]:
        candidate = lease_id(seen.session, file_id, number)
        try:
            await share.get_file_properties(path, lease_id=candidate)
        except LeaseError:
            continue
        except (FileNotFound, ParentNotFound, ResourceTypeMismatch):
            return None
        return candidate
    return None


async def each(values: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Work on each value, some at a time; return the results in order."""
    limit = trio.CapacityLimiter(_AT_ONCE)
    results: dict[int, R] = {}

    async def one(number: int, value: T) -> None:
        async with limit:
            results[number] = await work(value)

    async with trio.open_nursery() as nursery:
        for number, value in enumerate(values):
            nursery.start_soon(one, number, value)
    return [results[number] for number in sorted(results)]
