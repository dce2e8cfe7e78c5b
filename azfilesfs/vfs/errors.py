"""The one errno table: what a failure of the service, or of a rule of ours, is for a program.

Total over ``azfilesfs.errors``: a test walks every leaf.
"""

from __future__ import annotations

import errno
import logging
from typing import Final

from azfilesfs import errors as e
from azfilesfs.model.names import InvalidEncoding

LOST_LOCK: Final = "a lock was lost: another mount may hold it now"
"""The reason of everything that fails because a lock of this mount was taken over or broken."""


class VfsError(Exception):
    """An operation failed with an errno; the only exception that leaves the filesystem.

    Attributes:
        errno: a value of the errno module.
        reason: why, in a few words, for the log; never shown to the program.
        log_level: what the failure deserves in the log; an ENOENT of a lookup is no warning.
    """

    def __init__(self, number: int, reason: str = "", log_level: int = logging.DEBUG) -> None:
        super().__init__(number, reason)
        self.errno = number
        self.reason = reason
        self.log_level = log_level

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{name}: {self.reason}" if self.reason else name


class _Answer:
    __slots__ = ("level", "number")

    def __init__(self, number: int, level: int) -> None:
        self.number = number
        self.level = level


def _quiet(number: int) -> _Answer:
    return _Answer(number, logging.DEBUG)


def _warn(number: int) -> _Answer:
    return _Answer(number, logging.WARNING)


def _error(number: int) -> _Answer:
    return _Answer(number, logging.ERROR)


# The most specific class wins. A comment stands where the choice is arguable.
ERRNO_TABLE: Final[dict[type[e.AzureFilesError], _Answer]] = {
    e.AzureFilesError: _error(errno.EIO),
    e.ConfigurationError: _error(errno.EINVAL),
    e.InvalidPath: _quiet(errno.EINVAL),
    e.NameTooLong: _quiet(errno.ENAMETOOLONG),
    InvalidEncoding: _quiet(errno.EILSEQ),
    # A request that the service calls malformed is a defect of ours, not of the program's
    # arguments.
    e.InvalidRequest: _error(errno.EIO),
    e.UnsupportedServiceVersion: _error(errno.EIO),
    e.AuthenticationError: _error(errno.EACCES),
    e.PermissionDenied: _warn(errno.EACCES),
    # The share went away as a whole: what the program holds points at nothing any more.
    e.ShareError: _error(errno.EIO),
    e.ShareNotFound: _error(errno.ESTALE),
    e.FileError: _error(errno.EIO),
    e.FileNotFound: _quiet(errno.ENOENT),
    e.FileAlreadyExists: _quiet(errno.EEXIST),
    # Held by an SMB client: busy, and it may be free later.
    e.FileLocked: _warn(errno.EBUSY),
    # We ask for ranges inside the size that we know; outside means the file changed.
    e.InvalidRange: _warn(errno.ESTALE),
    e.FileTooLarge: _quiet(errno.EFBIG),
    e.ResourceTypeMismatch: _warn(errno.ESTALE),
    e.ReadOnlyFile: _quiet(errno.EACCES),
    e.ConditionNotMet: _warn(errno.ESTALE),
    e.ChangedDuringRead: _warn(errno.ESTALE),
    e.DirectoryError: _error(errno.EIO),
    e.DirectoryNotFound: _quiet(errno.ENOENT),
    e.DirectoryNotEmpty: _quiet(errno.ENOTEMPTY),
    e.ParentNotFound: _quiet(errno.ENOENT),
    # Another client holds a lease on the file.
    e.LeaseIdMissing: _warn(errno.EBUSY),
    e.LeaseAlreadyPresent: _warn(errno.EBUSY),
    # We thought that the lease was ours: what it protected is no longer protected.
    e.LeaseError: _error(errno.EIO),
    e.NetworkError: _error(errno.EIO),
    e.Timeout: _error(errno.ETIMEDOUT),
    e.CircuitOpen: _error(errno.ETIMEDOUT),
    e.ServerError: _error(errno.EIO),
    e.ServerBusy: _error(errno.ETIMEDOUT),
    e.OperationTimedOut: _error(errno.ETIMEDOUT),
}


def answer_for(kind: type[BaseException]) -> tuple[int, int]:
    """Return (errno, log level) for a class of failure; EIO and ERROR where it is none of ours."""
    for ancestor in kind.__mro__:
        if ancestor in ERRNO_TABLE:
            row = ERRNO_TABLE[ancestor]
            return row.number, row.level
    return errno.EIO, logging.ERROR


def to_vfs_error(error: e.AzureFilesError) -> VfsError:
    """Translate a failure of the client; the result names the request in its reason."""
    number, level = answer_for(type(error))
    return VfsError(number, str(error), level)
