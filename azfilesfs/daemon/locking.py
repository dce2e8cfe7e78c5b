"""How the locks of a mount are kept, and the kernel's requests for them brought in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import LockConfig
from azfilesfs.daemon.control import KernelLocks, LockSource
from azfilesfs.fuse import optable
from azfilesfs.fuse.dispatcher import Dispatcher, dispatching
from azfilesfs.fuse.guard import Guard
from azfilesfs.fuse.locking import LockHandlers
from azfilesfs.fuse.operations import Operations
from azfilesfs.vfs.filesystem import FileSystem
from azfilesfs.vfs.types import LockOptions

_log = logging.getLogger(__name__)


def lock_options(config: LockConfig) -> LockOptions:
    """Translate the configuration into the filesystem's terms.

    Raises:
        CommandFailed: locks between hosts are wanted, and this machine's libfuse passes none on.
    """
    reason = None if config.locks == "local" else optable.probe()
    if reason is not None and config.locks == "service":
        raise CommandFailed(
            ExitCode.FUSE_UNAVAILABLE,
            f"locks between hosts are not possible here: {reason}; with --locks=local they hold "
            "on this mount alone",
        )
    if reason is not None:
        _log.warning("locks hold on this mount alone: %s", reason)
    return LockOptions(
        reach_service=config.locks != "local" and reason is None,
        fall_back=config.locks == "auto",
        ttl=config.lock_session_ttl,
        timeout=config.lock_timeout,
        break_foreign=config.break_foreign_leases,
    )


def lock_source(filesystem: FileSystem) -> LockSource:
    """Return who tells of the locks of a mount."""
    return filesystem.locks if filesystem.locks.reach_service else KernelLocks()


@contextmanager
def lock_requests(
    filesystem: FileSystem, operations: Operations, guard: Guard
) -> Iterator[Dispatcher | None]:
    """Have the kernel ask this process for locks; None where it keeps them itself.

    To be entered before the session is made, and left after it has ended.
    """
    if not filesystem.locks.reach_service:
        yield None
        return
    table = optable.load()
    operations.closing = table.closing
    with dispatching(table, LockHandlers(filesystem.locks).table(), guard) as dispatcher:
        yield dispatcher
