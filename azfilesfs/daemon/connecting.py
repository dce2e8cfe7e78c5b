"""A share for one piece of work of a command, without a mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import trio

from azfilesfs.client import ClientOptions, ShareClient, ShareServiceClient
from azfilesfs.config.credentials import CredentialSources
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.credentials import ReloadingCredentials

T = TypeVar("T")


def credentials_for(sources: CredentialSources, endpoint: str | None) -> ReloadingCredentials:
    """Read the credentials; with ``endpoint``, the one that a mount has, they must be for it.

    Raises:
        CommandFailed: they are for another endpoint.
        ConfigurationError: they cannot be right, or there are none.
    """
    credentials = ReloadingCredentials(sources)
    if endpoint is not None and credentials.endpoint.url != endpoint:
        raise CommandFailed(
            ExitCode.USAGE,
            f"the mount is of {endpoint}, the credentials are for {credentials.endpoint.url}",
        )
    return credentials


def on_share(
    credentials: ReloadingCredentials, share: str, work: Callable[[ShareClient], Awaitable[T]]
) -> T:
    """Do something with a share. Blocks; runs an event loop of its own.

    Raises:
        AzureFilesError: the credential cannot be used, or what the work raised.
    """

    async def connected() -> T:
        options = ClientOptions(ca_file=credentials.ca_file)
        async with ShareServiceClient.open(credentials.endpoint, credentials, options) as service:
            return await work(service.share(share))

    return run_alone(connected)


def run_alone(work: Callable[[], Awaitable[T]]) -> T:
    """Run an event loop for one piece of work; what its nurseries raised comes out ungrouped.

    Of several failures one is raised, an interruption before all others.
    """

    async def whole() -> T:
        return await work()

    try:
        return trio.run(whole)
    except BaseExceptionGroup as group:
        failures = list(_leaves(group))
    chosen = next((one for one in failures if not isinstance(one, Exception)), failures[0])
    raise chosen from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one
