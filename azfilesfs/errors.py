"""The error taxonomy: what can go wrong with a share, in the words of the service.

AzureFilesError
 +-- ConfigurationError      InvalidAccountName InvalidShareName InvalidPath (NameTooLong)
 |                           MissingCredentials InvalidRequest UnsupportedServiceVersion
 +-- AuthenticationError     InvalidKey ExpiredSas PermissionDenied AuthorizationFailure
 +-- ShareError              ShareNotFound ShareAlreadyExists ShareBeingDeleted ShareConflict
 |                           ShareDisabled
 +-- FileError               FileNotFound FileAlreadyExists FileLocked InvalidRange FileTooLarge
 |                           ResourceTypeMismatch ReadOnlyFile CopyFailed IntegrityError
 |                           ConditionNotMet ChangedDuringRead
 +-- DirectoryError          DirectoryNotFound DirectoryNotEmpty ParentNotFound
 +-- LeaseError              LeaseNotPresent LeaseAlreadyPresent LeaseIdMismatch LeaseIdMissing
 |                           LeaseExpired
 +-- NetworkError            ConnectionFailed Timeout DnsResolutionFailed TlsFailed ProtocolError
 |                           CircuitOpen
 +-- ServerError             InternalError ServiceUnavailable ServerBusy OperationTimedOut

This module is a leaf. Messages never contain a secret: the client redacts URLs before it raises.
"""

from __future__ import annotations


class AzureFilesError(Exception):
    """Any failure of an operation on the service, or of the configuration that leads to it.

    Attributes:
        status: HTTP status, None where no answer arrived.
        code: the service's error code (``x-ms-error-code``), None where it sent none.
        request_id: ``x-ms-request-id`` of the answer.
        operation: name of the operation as in the REST reference (``PutRange``).
        path: the share path concerned, already safe to print.
        retry_after: seconds that the service asked to wait.
        may_have_been_applied: True where the request may have taken effect at the service although
            it failed here (its answer was lost, it timed out, or the service answered 500).
    """

    retryable: bool = False

    def __init__(  # noqa: PLR0913  # the facts of one failure; all but the message by keyword
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        operation: str | None = None,
        path: str | None = None,
        retry_after: float | None = None,
        may_have_been_applied: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.operation = operation
        self.path = path
        self.retry_after = retry_after
        self.may_have_been_applied = may_have_been_applied

    def __str__(self) -> str:
        facts = (
            ("operation", self.operation),
            ("path", "/" if self.path == "" else self.path),
            ("status", self.status),
            ("code", self.code),
            ("request id", self.request_id),
        )
        detail = ", ".join(f"{name} {value!s}" for name, value in facts if value is not None)
        return f"{self.message} ({detail})" if detail else self.message


class ConfigurationError(AzureFilesError):
    """The request can never succeed as configured."""


class InvalidAccountName(ConfigurationError):
    """The storage account name is malformed or missing."""


class InvalidShareName(ConfigurationError):
    """The share name is malformed."""


class InvalidPath(ConfigurationError):
    """A file or directory name is forbidden, too long or too deep."""


class NameTooLong(InvalidPath):
    """A name is longer than 255 UTF-16 units, or a path longer than 2,048 or deeper than 250."""


class MissingCredentials(ConfigurationError):
    """No usable credential was given."""


class InvalidRequest(ConfigurationError):
    """The service refused a header, parameter or document of the request."""


class UnsupportedServiceVersion(ConfigurationError):
    """The service does not know the requested ``x-ms-version``."""


class AuthenticationError(AzureFilesError):
    """The service did not accept who we are, or what we may do."""


class InvalidKey(AuthenticationError):
    """The signature was refused: wrong key, wrong SAS or a clock more than 15 minutes off."""


class ExpiredSas(AuthenticationError):
    """The shared access signature is no longer, or not yet, valid."""


class PermissionDenied(AuthenticationError):
    """The credential is valid and lacks the permission for this operation."""


class AuthorizationFailure(AuthenticationError):
    """Network rules, protocol, source address or account state forbid the request."""


class ShareError(AzureFilesError):
    """Something about the share itself."""


class ShareNotFound(ShareError):
    """The share does not exist."""


class ShareAlreadyExists(ShareError):
    """A share of that name exists."""


class ShareBeingDeleted(ShareError):
    """The name is still being freed after a deletion."""

    retryable = True


class ShareConflict(ShareError):
    """The share's state (snapshots, a snapshot in progress) forbids the operation."""


class ShareDisabled(ShareError):
    """The share has been disabled by its administrator."""


class FileError(AzureFilesError):
    """Something about one file."""


class FileNotFound(FileError):
    """The file, or the directory asked for as a leaf, does not exist."""


class FileAlreadyExists(FileError):
    """The destination exists and replacing was not asked for."""


class FileLocked(FileError):
    """An SMB client holds the file open or locked in a way that excludes this operation."""

    retryable = True


class InvalidRange(FileError):
    """The range begins at or reaches past the end of the file.

    Attributes:
        file_size: size of the file where the service said it (``bytes */N``), else None.
    """

    file_size: int | None = None


class FileTooLarge(FileError):
    """The size is beyond 4 TiB, or a request body beyond 4 MiB."""


class ResourceTypeMismatch(FileError):
    """A file operation met a directory, or the other way round."""


class ReadOnlyFile(FileError):
    """The file carries the ReadOnly attribute."""


class CopyFailed(FileError):
    """A server-side copy could not read its source, or has no pending copy to act on."""


class IntegrityError(FileError):
    """Bytes arrived damaged: MD5 mismatch, short body or a wrong Content-Range."""

    retryable = True


class ConditionNotMet(FileError):
    """The file is not what it was expected to be (compare-after, the service has no If-Match)."""


class ChangedDuringRead(FileError):
    """The file kept changing while one logical read was assembled from several ranges."""


class DirectoryError(AzureFilesError):
    """Something about one directory."""


class DirectoryNotFound(DirectoryError):
    """The directory does not exist."""


class DirectoryNotEmpty(DirectoryError):
    """The directory has entries."""


class ParentNotFound(DirectoryError):
    """A directory on the way to the path does not exist."""


class LeaseError(AzureFilesError):
    """Something about a lease."""


class LeaseNotPresent(LeaseError):
    """There is no active lease, and the request named one."""


class LeaseAlreadyPresent(LeaseError):
    """Another lease is active."""


class LeaseIdMismatch(LeaseError):
    """The lease id of the request is not the active one."""


class LeaseIdMissing(LeaseError):
    """The resource is leased and the request carried no lease id."""


class LeaseExpired(LeaseError):
    """The lease of the request has expired, was broken or is being broken."""


class NetworkError(AzureFilesError):
    """No answer of the service could be had."""

    retryable = True


class ConnectionFailed(NetworkError):
    """The connection could not be made, or broke."""


class Timeout(NetworkError):
    """The deadline passed before the answer was complete."""


class DnsResolutionFailed(NetworkError):
    """The host name does not resolve."""


class TlsFailed(NetworkError):
    """The certificate was refused or the TLS handshake failed."""

    retryable = False


class ProtocolError(NetworkError):
    """What arrived is not an answer of the service: bad HTTP, bad XML, missing headers."""


class CircuitOpen(NetworkError):
    """The circuit breaker is open and its probe did not succeed within the deadline."""


class ServerError(AzureFilesError):
    """The service failed."""

    retryable = True


class InternalError(ServerError):
    """500, or a status that no other class covers."""


class ServiceUnavailable(ServerError):
    """503 without the code ServerBusy."""


class ServerBusy(ServerError):
    """The service throttles: 503 ServerBusy or 429."""


class OperationTimedOut(ServerError):
    """The service gave up on the operation, which may have been applied."""
