"""Failures of the start as one line and an exit status."""

from __future__ import annotations

from typing import Final

from azfilesfs import errors as e
from azfilesfs.config.exit_codes import CommandFailed, ExitCode

_CODES: Final[tuple[tuple[type[e.AzureFilesError], ExitCode, str], ...]] = (
    (e.InvalidKey, ExitCode.REFUSED, "the service refused the key or signature"),
    (e.ExpiredSas, ExitCode.REFUSED, "the shared access signature is not valid now"),
    (e.AuthenticationError, ExitCode.REFUSED, "the service refused access"),
    (e.ShareNotFound, ExitCode.NOT_FOUND, "there is no such share"),
    (e.DirectoryNotFound, ExitCode.NOT_FOUND, "there is no such directory in the share"),
    (e.ParentNotFound, ExitCode.NOT_FOUND, "there is no such directory in the share"),
    (e.FileNotFound, ExitCode.NOT_FOUND, "there is no such file or directory in the share"),
    (e.ResourceTypeMismatch, ExitCode.NOT_FOUND, "it is not a directory of the share"),
    (e.DnsResolutionFailed, ExitCode.UNREACHABLE, "the service cannot be found"),
    (e.TlsFailed, ExitCode.UNREACHABLE, "the service's certificate was not accepted"),
    (e.NetworkError, ExitCode.UNREACHABLE, "the service cannot be reached"),
    (e.ServerError, ExitCode.UNREACHABLE, "the service does not work"),
    (e.ConfigurationError, ExitCode.USAGE, ""),
)


def to_command_failure(error: BaseException) -> CommandFailed | None:
    """Translate what ended the start; None where it was none of the expected failures.

    Groups of nurseries and the errors of higher layers are searched for the service's own error.
    """
    if isinstance(error, CommandFailed):
        return error
    if isinstance(error, e.AzureFilesError):
        return _translate(error)
    inner: list[BaseException] = []
    if isinstance(error, BaseExceptionGroup):
        inner = list(error.exceptions)
    elif error.__cause__ is not None:
        inner = [error.__cause__]
    return next((found for one in inner if (found := to_command_failure(one))), None)


def _translate(error: e.AzureFilesError) -> CommandFailed:
    for kind, code, words in _CODES:
        if isinstance(error, kind):
            return CommandFailed(code, f"{words}: {error}" if words else str(error))
    return CommandFailed(ExitCode.FAILED, str(error))
