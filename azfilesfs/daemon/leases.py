"""Leases by hand: on a file or on the share itself, as the service has them (rest.md section 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from azfilesfs.client import ShareClient
from azfilesfs.config.credentials import CredentialSources
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.connecting import credentials_for, on_share
from azfilesfs.daemon.failures import to_command_failure
from azfilesfs.errors import (
    AzureFilesError,
    FileNotFound,
    InvalidRequest,
    LeaseAlreadyPresent,
    LeaseError,
    LeaseExpired,
    LeaseNotPresent,
    ParentNotFound,
    ResourceTypeMismatch,
)
from azfilesfs.model.limits import INFINITE_LEASE
from azfilesfs.model.paths import SharePath

Action = Literal["acquire", "renew", "release", "break"]

_MISSING: Final = (FileNotFound, ParentNotFound, ResourceTypeMismatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseOrder:
    """What is to be done to which lease.

    Attributes:
        path: of the file; None for the share itself.
        endpoint: that the credentials must be for; None for whichever they name.
        lease_id: proposed for acquire, held for renew and release.
        duration: of a share's lease in seconds; INFINITE_LEASE for no end.
        break_period: seconds that a share's lease goes on; None for the service's choice.
    """

    action: Action
    share: str
    path: SharePath | None
    endpoint: str | None = None
    lease_id: str | None = None
    duration: int = INFINITE_LEASE
    break_period: int | None = None

    @property
    def target(self) -> str:
        """Name the file or share."""
        return f"the share {self.share}" if self.path is None else f"{self.share}/{self.path}"


@dataclass(frozen=True, slots=True)
class LeaseOutcome:
    """How it ended.

    Attributes:
        lease_id: what was acquired or renewed.
        seconds: after a break: until another can acquire it.
    """

    lease_id: str | None = None
    seconds: int | None = None


def do_lease(sources: CredentialSources, order: LeaseOrder) -> LeaseOutcome:
    """Carry an order out. Blocks.

    Raises:
        CommandFailed: it could not be done.
        ConfigurationError: the credentials cannot be right.
    """
    credentials = credentials_for(sources, order.endpoint)
    actions = _SHARE_ACTIONS if order.path is None else _FILE_ACTIONS
    work = actions[order.action]
    try:
        return on_share(credentials, order.share, lambda share: work(share, order))
    except AzureFilesError as error:
        raise _failure(order, error) from None


def _failure(order: LeaseOrder, error: AzureFilesError) -> CommandFailed | AzureFilesError:
    if isinstance(error, _MISSING) and order.path is not None:
        return CommandFailed(ExitCode.NOT_FOUND, f"{order.target}: there is no such file: {error}")
    if isinstance(error, LeaseNotPresent | LeaseExpired):
        return CommandFailed(ExitCode.NOT_FOUND, f"{order.target} has no lease: {error}")
    if isinstance(error, LeaseAlreadyPresent):
        return CommandFailed(ExitCode.LEASED, f"{order.target} is leased already: {error}")
    if isinstance(error, LeaseError):
        return CommandFailed(
            ExitCode.LEASED, f"the lease of {order.target} has another id: {error}"
        )
    if isinstance(error, InvalidRequest):
        return CommandFailed(ExitCode.USAGE, f"the service does not do that: {error}")
    return to_command_failure(error) or error


def _path(order: LeaseOrder) -> SharePath:
    if order.path is None:
        raise ValueError("a file is needed")
    return order.path


def _id(order: LeaseOrder) -> str:
    if order.lease_id is None:
        raise CommandFailed(ExitCode.USAGE, f"{order.action} needs the lease's --id")
    return order.lease_id


async def _acquire_file(share: ShareClient, order: LeaseOrder) -> LeaseOutcome:
    if order.duration != INFINITE_LEASE:
        raise CommandFailed(
            ExitCode.USAGE, "the service leases files without an end only: leave out --duration"
        )
    lease = await share.acquire_file_lease(_path(order), order.lease_id)
    return LeaseOutcome(lease.lease_id)


async def _renew_file(_share: ShareClient, _order: LeaseOrder) -> LeaseOutcome:
    raise CommandFailed(
        ExitCode.USAGE, "the lease on a file has no end, so the service does not renew it"
    )


async def _release_file(share: ShareClient, order: LeaseOrder) -> LeaseOutcome:
    await share.release_file_lease(_path(order), _id(order))
    return LeaseOutcome()


async def _break_file(share: ShareClient, order: LeaseOrder) -> LeaseOutcome:
    if order.break_period:
        raise CommandFailed(
            ExitCode.USAGE, "the service breaks the lease on a file at once: no --break-period"
        )
    await share.break_file_lease(_path(order))
    return LeaseOutcome(seconds=0)


async def _acquire_share(share: ShareClient, order: LeaseOrder) -> LeaseOutcome:
    lease = await share.acquire_share_lease(order.duration, order.lease_id)
    return LeaseOutcome(lease.lease_id)


async def _renew_share(share: ShareClient, order: LeaseOrder) -> LeaseOutcome:
    lease = await share.renew_share_lease(_id(order))
    return LeaseOutcome(lease.lease_id)


async def _release_share(share: ShareClient, order: LeaseOrder) -> LeaseOutcome:
    await share.release_share_lease(_id(order))
    return LeaseOutcome()


async def _break_share(share: ShareClient, order: LeaseOrder) -> LeaseOutcome:
    return LeaseOutcome(seconds=await share.break_share_lease(order.break_period))


_Work = Callable[[ShareClient, LeaseOrder], Awaitable[LeaseOutcome]]
_FILE_ACTIONS: Final[dict[Action, _Work]] = {
    "acquire": _acquire_file,
    "renew": _renew_file,
    "release": _release_file,
    "break": _break_file,
}
_SHARE_ACTIONS: Final[dict[Action, _Work]] = {
    "acquire": _acquire_share,
    "renew": _renew_share,
    "release": _release_share,
    "break": _break_share,
}
