"""Renaming at the service, without a mount."""

from __future__ import annotations

import os

from azfilesfs.client import ShareClient
from azfilesfs.config.credentials import CredentialSources
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon.connecting import credentials_for, on_share
from azfilesfs.daemon.failures import to_command_failure
from azfilesfs.errors import (
    AzureFilesError,
    DirectoryNotFound,
    FileAlreadyExists,
    FileNotFound,
    ParentNotFound,
    ResourceTypeMismatch,
)
from azfilesfs.model.names import to_service
from azfilesfs.model.paths import SharePath


def rename(
    sources: CredentialSources,
    share: str,
    source: str,
    destination: str,
    *,
    replace: bool,
    endpoint: str | None = None,
) -> None:
    """Rename a file or directory of a share; paths are spelled as on a mount. Blocks.

    With ``endpoint``, that of the mount which the paths are on, the credentials must be for it.

    Raises:
        CommandFailed: it could not be done.
        ConfigurationError: a path or the credentials cannot be right.
    """
    credentials = credentials_for(sources, endpoint)
    old, new = _path(source), _path(destination)
    try:
        on_share(credentials, share, lambda client: _rename(client, old, new, replace=replace))
    except (FileNotFound, ParentNotFound) as error:
        raise CommandFailed(
            ExitCode.NOT_FOUND, f"{source}: there is no such file: {error}"
        ) from None
    except FileAlreadyExists as error:
        raise CommandFailed(ExitCode.FAILED, f"{destination} exists already: {error}") from None
    except AzureFilesError as error:
        raise to_command_failure(error) or error from None


def _path(text: str) -> SharePath:
    path = SharePath(tuple(to_service(os.fsencode(name)) for name in text.split("/") if name))
    path.check()
    return path


async def _rename(share: ShareClient, old: SharePath, new: SharePath, *, replace: bool) -> None:
    try:
        found = await share.get_file_properties(old)
    except (FileNotFound, ResourceTypeMismatch) as missing:
        # Either nothing, or a directory, which answers as a file that is not there.
        try:
            await share.get_directory_properties(old)
        except DirectoryNotFound:
            raise missing from None
        if replace:
            raise CommandFailed(ExitCode.USAGE, "a directory cannot replace anything") from None
        await share.rename_directory(old, new)
        return
    await share.rename_file(old, new, replace=replace, expected_file_id=found.file_id)
