"""The locks of a share for commands: looked up, and broken by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from azfilesfs.client import ShareClient
from azfilesfs.config.credentials import CredentialSources
from azfilesfs.config.exit_codes import CommandFailed
from azfilesfs.daemon import lock_breaking
from azfilesfs.daemon.connecting import credentials_for, on_share, run_alone
from azfilesfs.daemon.control import NotAnswering, ask_locks
from azfilesfs.daemon.failures import to_command_failure
from azfilesfs.daemon.lock_breaking import Broken, Holders
from azfilesfs.daemon.lock_merge import FoundLock, LocalMount, merge, omitted
from azfilesfs.daemon.lock_survey import Survey, survey
from azfilesfs.daemon.registry import Record, running
from azfilesfs.errors import AzureFilesError
from azfilesfs.model.paths import SharePath


@dataclass(frozen=True, slots=True)
class ShareLocks:
    """The locks of one share.

    Attributes:
        now_ns: the service's clock, 0 where it was not asked.
        omitted: how many more are held.
        warnings: what could not be found out.
    """

    share: str
    locks: tuple[FoundLock, ...]
    now_ns: int
    omitted: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BreakOrder:
    """Which file is to be taken from whoever holds it.

    Attributes:
        endpoint: that the credentials must be for; None for whichever they name.
        end_sessions: whether live readers' sessions are to be ended.
    """

    share: str
    path: SharePath
    endpoint: str | None
    end_sessions: bool


def locks_of(
    share: str,
    sources: CredentialSources,
    endpoint: str | None,
    places: Sequence[Path],
) -> ShareLocks:
    """Return the locks of a share: what its sessions say, and its mounts on this host. Blocks.

    With ``endpoint``, that of a mount of this host, the service's part may fail; that becomes a
    warning.

    Raises:
        CommandFailed: the service refuses or does not work, for a share that is not mounted here.
        ConfigurationError: the credentials cannot be right.
    """
    warnings: list[str] = []
    found = Survey()
    mounted_at = endpoint
    try:
        credentials = credentials_for(sources, endpoint)
        mounted_at = credentials.endpoint.url
        found = on_share(credentials, share, survey)
    except (CommandFailed, AzureFilesError) as error:
        failure = to_command_failure(error) or error
        if endpoint is None:
            raise failure from None
        warnings.append(f"the share {share} cannot be asked: {failure}")
    records = [one for one in running(places) if (one.endpoint, one.share) == (mounted_at, share)]
    mounts = run_alone(lambda: _ask_all(records, warnings))
    return ShareLocks(
        share,
        tuple(merge(found, mounts)),
        found.service_ns,
        omitted(found, mounts),
        tuple(warnings),
    )


def break_locks(
    sources: CredentialSources,
    order: BreakOrder,
    confirmed: Callable[[Holders], bool],
) -> Broken | None:
    """Look at who holds a file, and take it from them if ``confirmed`` says so. Blocks.

    ``confirmed`` may wait for a person. Returns None where it said no.

    Raises:
        CommandFailed: there is no such file, the holder changed meanwhile, the service refuses or
            does not work, or what ``confirmed`` raised.
        ConfigurationError: the credentials cannot be right.
    """

    async def work(share: ShareClient) -> Broken | None:
        held = await lock_breaking.holders(share, order.path)
        if not await trio.to_thread.run_sync(confirmed, held):
            return None
        return await lock_breaking.break_locks(share, held, end_sessions=order.end_sessions)

    credentials = credentials_for(sources, order.endpoint)
    try:
        return on_share(credentials, order.share, work)
    except AzureFilesError as error:
        raise to_command_failure(error) or error from None


async def _ask_all(records: list[Record], warnings: list[str]) -> list[LocalMount]:
    mounts: list[LocalMount] = []

    async def ask(record: Record) -> None:
        try:
            told = await ask_locks(Path(record.state))
        except NotAnswering as error:
            warnings.append(f"the mount {record.mountpoint} cannot be asked: {error}")
        else:
            mounts.append(LocalMount(socket.gethostname(), record.mountpoint, told))

    async with trio.open_nursery() as nursery:
        for record in records:
            nursery.start_soon(ask, record)
    return sorted(mounts, key=lambda one: one.mountpoint)
