"""A share for one piece of work of a command, without a mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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

    return trio.run(connected)
