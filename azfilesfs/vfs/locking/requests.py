"""flock(2) and fcntl(2) by handle, as the adapter asks; and what is held, for people."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from azfilesfs.vfs.context import Context
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.locking.locked import text_path
from azfilesfs.vfs.locks.about import LockRow, LockSummary, ModeName, Remote, SessionAbout, encode
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import END_OF_FILE, Held, Kind, Owner, Span
from azfilesfs.vfs.locks.session import Life

_KINDS: Final = {Kind.FLOCK: "flock", Kind.POSIX: "fcntl", Kind.OFD: "ofd"}


class LockRequests:
    """The locking operations of one filesystem; errors are ``VfsError``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._locks = context.locks
        self._started_ns = time.time_ns()
        self._since: dict[Held, int] = {}
        self.mountpoint = ""
        context.locks.about = self._about

    async def flock(self, handle: int, mode: Mode, *, wait: bool, pid: int) -> None:
        """Take, change or (Mode.NONE) give up the flock of an open file description."""
        owner = Owner(Kind.FLOCK, handle)
        await self._change(handle, Held(owner, mode, Span(), handle, pid), wait=wait)

    async def setlk(
        self, handle: int, owner: int, mode: Mode, span: Span, *, wait: bool, pid: int
    ) -> None:
        """Take, change or (Mode.NONE) give up a range of bytes for a lock owner."""
        wish = Held(Owner(Kind.POSIX, owner), mode, span, handle, pid)
        await self._change(handle, wish, wait=wait)

    async def _change(self, handle: int, wish: Held, *, wait: bool) -> None:
        inode = self._context.handles.inode_of(handle)
        if wish.mode is Mode.NONE:
            await self._locks.give(inode, wish)
        else:
            await self._locks.take(inode, wish, wait=wait)

    async def getlk(self, handle: int, owner: int, mode: Mode, span: Span) -> Held | None:
        """Return a lock that is in the way of such a one, None for none."""
        inode = self._context.handles.inode_of(handle)
        return await self._locks.holder(
            inode, Held(Owner(Kind.POSIX, owner), mode, span, handle, 0)
        )

    # For people

    @property
    def reach_service(self) -> bool:
        """Whether locks are to hold between hosts."""
        return self._context.options.locks.reach_service

    def lock_session(self) -> str | None:
        """Return the id of the session that lives now, None where none was begun."""
        session = self._locks.keeper.session
        return session.identity if session.life is Life.ALIVE else None

    def lock_rows(self) -> list[LockRow]:
        """Return what the processes of this mount hold and await."""
        rows = [self._row(inode, one, waiting=False) for inode, one in self._held()]
        local = self._locks.arbiter.local
        for inode in self._inodes():
            waiting = [ticket.wish for ticket in local.waiting(inode.number)]
            rows += [self._row(inode, wish, waiting=True) for wish in waiting]
        return rows

    def _inodes(self) -> Iterator[Inode]:
        for number in self._locks.arbiter.local.inodes():
            inode = self._context.inodes.number(number)
            if inode is not None:
                yield inode

    def _held(self) -> Iterator[tuple[Inode, Held]]:
        seen = {}
        for inode in self._inodes():
            for one in self._locks.arbiter.local.held(inode.number):
                seen[one] = self._since.get(one, time.time_ns())
                yield inode, one
        self._since = seen

    def _row(self, inode: Inode, one: Held, *, waiting: bool) -> LockRow:
        return LockRow(
            path=text_path(inode) or inode.name,
            file_id=str(inode.file_id) if inode.file_id is not None else "",
            kind=_KINDS[one.owner.kind],
            mode=_mode(one.mode),
            start=one.span.start,
            stop=None if one.span.stop >= END_OF_FILE else one.span.stop,
            pid=one.pid,
            process=process_name(one.pid),
            since_ns=self._since.get(one, time.time_ns()),
            waiting=waiting or self._awaits_service(inode, one),
            remote=self._remote(inode, one),
        )

    def _awaits_service(self, inode: Inode, one: Held) -> bool:
        file = self._locks.files.get(inode)
        return file is not None and any(p.ticket.owner == one.owner for p in file.pendings)

    def _remote(self, inode: Inode, one: Held) -> Remote:
        file = self._locks.files.get(inode)
        if file is None:
            return "local-only"
        return "held" if file.machine.held >= one.mode else "wanted"

    def _about(self) -> Mapping[str, str]:
        summaries = tuple(
            LockSummary(
                path=row.path,
                file_id=row.file_id,
                kind=row.kind,
                mode=row.mode,
                pid=row.pid,
                process=row.process,
                since_ns=row.since_ns,
            )
            for row in self.lock_rows()
            if row.remote == "held" and not row.waiting
        )
        host = self._context.options.host_name
        about = SessionAbout(host, self.mountpoint, os.getpid(), self._started_ns, summaries)
        return encode(about)


def _mode(mode: Mode) -> ModeName:
    return "exclusive" if mode is Mode.EXCLUSIVE else "shared"


def process_name(pid: int) -> str:
    """Return the name of a process, empty where there is none any more."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip() if pid else ""
    except OSError:
        return ""
