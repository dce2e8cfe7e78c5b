"""What other mounts hold, as far as one look tells (F_GETLK)."""

from __future__ import annotations

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.locking.service import LockService
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import READERS, Announcement
from azfilesfs.vfs.locks.requests import Found, Head, List, Listed


async def mode_elsewhere(
    service: LockService, path: SharePath, file_id: str, session: str, seconds: float
) -> Mode:
    """Return the strongest lock that anybody but the session has on a file it has not leased.

    What a dead mount has left counts, until somebody contends for it. No answer counts as nothing.
    """
    looked = (await service.send(Head(""), path, seconds)).answer
    if isinstance(looked, Found) and looked.leased:
        return Mode.EXCLUSIVE
    listed = (await service.send(List(READERS, f"{file_id}."), None, seconds)).answer
    entries = listed.entries if isinstance(listed, Listed) else ()
    found = (Announcement.parse(entry.name) for entry in entries)
    others = any(one is not None and one.session != session for one in found)
    return Mode.SHARED if others else Mode.NONE
