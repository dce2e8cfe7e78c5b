"""All locks of a share in one list: what its sessions say, and what our own mounts say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from azfilesfs.daemon.control import MountLocks
from azfilesfs.daemon.lock_survey import SeenSession, State, Survey
from azfilesfs.vfs.locks.about import LockRow, LockSummary


@dataclass(frozen=True, slots=True)
class LocalMount:
    """A mount of this host, and what its process says."""

    host: str
    mountpoint: str
    locks: MountLocks


@dataclass(frozen=True, slots=True)
class FoundLock:
    """One lock as it is shown.

    Attributes:
        row: what is locked by whom; of an announcement that its session does not explain there is
            the file id alone, and an empty path.
        since_known: whether ``row.since_ns`` says anything.
        session: empty for a lock that has none.
        is_local: whether a mount of this host said so itself.
    """

    row: LockRow
    host: str
    mountpoint: str
    session: str
    state: State
    is_local: bool
    since_known: bool = True


def merge(found: Survey, mounts: Iterable[LocalMount]) -> list[FoundLock]:
    """Return all locks, by path; what our own mounts say replaces what their sessions said."""
    mounts = list(mounts)
    locks = [lock for mount in mounts for lock in _of_mount(found, mount)]
    ours = {mount.locks.session for mount in mounts}
    for seen in found.sessions.values():
        if seen.session not in ours:
            locks += _of_session(found, seen)
    locks += _unexplained(found, locks, ours)
    return sorted(locks, key=lambda one: (one.row.path, one.row.file_id, one.host, one.row.start))


def omitted(found: Survey, mounts: Iterable[LocalMount]) -> int:
    """Return how many locks are held of which nothing more is told."""
    mounts = list(mounts)
    ours = {mount.locks.session for mount in mounts}
    others = [
        seen.about.omitted
        for seen in found.sessions.values()
        if seen.about is not None and seen.session not in ours and seen.state != "dead"
    ]
    return sum(others) + sum(mount.locks.omitted for mount in mounts)


def _of_mount(found: Survey, mount: LocalMount) -> list[FoundLock]:
    session = mount.locks.session or ""
    # Its process answers, so it lives, whether or not its session has been seen by others.
    state: State = "dead" if found.state(session) == "dead" else "alive"
    return [
        FoundLock(row, mount.host, mount.mountpoint, session, state, is_local=True)
        for row in mount.locks.rows
    ]


def _of_session(found: Survey, seen: SeenSession) -> list[FoundLock]:
    if seen.about is None:
        return []
    announced = {(one.session, one.file_id) for one in found.announcements}
    exclusive = {lock.file_id for lock in seen.about.locks if lock.mode == "exclusive"}

    def is_there(lock: LockSummary) -> bool:
        key = (seen.session, lock.file_id)
        if lock.file_id not in exclusive:
            return key in announced
        return seen.state != "dead" or key in found.confirmed

    about = seen.about
    return [
        FoundLock(
            _row(lock), about.host, about.mountpoint, seen.session, seen.state, is_local=False
        )
        for lock in about.locks
        if is_there(lock)
    ]


def _unexplained(
    found: Survey, locks: Iterable[FoundLock], ours: set[str | None]
) -> list[FoundLock]:
    """Return the announcements that no lock explains.

    Our own mounts' are passed over: they are asked, so what is there beyond their answer is going
    or coming at this moment.
    """
    explained = {(lock.session, lock.row.file_id) for lock in locks}
    rest = {(one.session, one.file_id) for one in found.announcements} - explained
    return [
        _announced(found, session, file_id)
        for session, file_id in sorted(rest)
        if session not in ours
    ]


def _announced(found: Survey, session: str, file_id: str) -> FoundLock:
    seen = found.sessions.get(session)
    about = seen.about if seen is not None else None
    row = _row(LockSummary("", file_id, "", "shared", 0, "", 0))
    return FoundLock(
        row,
        about.host if about is not None else "",
        about.mountpoint if about is not None else "",
        session,
        found.state(session),
        is_local=False,
        since_known=False,
    )


def _row(lock: LockSummary) -> LockRow:
    return LockRow(
        path=lock.path,
        file_id=lock.file_id,
        kind=lock.kind,
        mode=lock.mode,
        start=0,
        stop=None,
        pid=lock.pid,
        process=lock.process,
        since_ns=lock.since_ns,
        waiting=False,
        remote="held",
    )
