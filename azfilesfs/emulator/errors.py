"""The errors that the service answers with: code, HTTP status, message and extra elements."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_NO_EXTRAS: Final[Mapping[str, str]] = MappingProxyType({})

CODES: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "AuthenticationFailed": (403, "Server failed to authenticate the request."),
        "AuthorizationFailure": (403, "This request is not authorized to perform this operation."),
        "AuthorizationPermissionMismatch": (
            403,
            "This request is not authorized to perform this operation using this permission.",
        ),
        "AuthorizationProtocolMismatch": (
            403,
            "This request is not authorized to perform this operation using this protocol.",
        ),
        "AuthorizationResourceTypeMismatch": (
            403,
            "This request is not authorized to perform this operation using this resource type.",
        ),
        "AuthorizationServiceMismatch": (
            403,
            "This request is not authorized to perform this operation using this service.",
        ),
        "AuthorizationSourceIPMismatch": (
            403,
            "This request is not authorized to perform this operation using this source IP.",
        ),
        "CannotDeleteFileOrDirectory": (409, "The file or directory could not be deleted."),
        "CannotVerifyCopySource": (404, "Could not verify the copy source."),
        "ConditionHeadersNotSupported": (400, "Condition headers are not supported."),
        "Crc64ConditionNotMet": (412, "The Crc64 condition specified was not met."),
        "Crc64Mismatch": (400, "The CRC64 value specified did not match the one computed."),
        "DeleteShareWhenSnapshotLeased": (
            409,
            "Unable to delete share because one or more share snapshots have active leases.",
        ),
        "DirectoryNotEmpty": (409, "The specified directory is not empty."),
        "EmptyMetadataKey": (400, "The key for one of the metadata key-value pairs is empty."),
        "FileInvalidPermission": (400, "The specified file permission is not valid."),
        "FileInvalidPermissionKey": (400, "The specified file permission key is not valid."),
        "InternalError": (500, "The server encountered an internal error. Please retry."),
        "InvalidAuthenticationInfo": (401, "Authentication information is not valid."),
        "InvalidContinuationToken": (400, "The continuation token is not valid."),
        "InvalidFileOrDirectoryPathName": (400, "The file or directory path is too long."),
        "InvalidHeaderValue": (
            400,
            "The value for one of the HTTP headers is not in the correct format.",
        ),
        "InvalidInput": (400, "One of the request inputs is not valid."),
        "InvalidMd5": (400, "The MD5 value specified in the request is invalid."),
        "InvalidMetadata": (400, "The metadata specified is invalid."),
        "InvalidQueryParameterValue": (
            400,
            "Value for one of the query parameters specified in the request URI is invalid.",
        ),
        "InvalidRange": (
            416,
            "The range specified is invalid for the current size of the resource.",
        ),
        "InvalidResourceName": (400, "The specifed resource name contains invalid characters."),
        "InvalidUri": (400, "The requested URI does not represent any resource on the server."),
        "InvalidXmlDocument": (400, "XML specified is not syntactically valid."),
        "InvalidXmlNodeValue": (400, "The value of one of the XML nodes is not valid."),
        "LeaseAlreadyPresent": (409, "There is already a lease present."),
        "LeaseIdMismatchWithContainerOperation": (
            412,
            "The lease ID specified did not match the lease ID for the file share.",
        ),
        "LeaseIdMismatchWithFileOperation": (
            412,
            "The lease ID specified did not match the lease ID for the file.",
        ),
        "LeaseIdMismatchWithLeaseOperation": (
            409,
            "The lease ID specified did not match the lease ID of the lease.",
        ),
        "LeaseIdMissing": (412, "There is a lease and no lease ID was specified in the request."),
        "LeaseIsBreakingAndCannotBeAcquired": (
            409,
            "The lease is being broken and cannot be acquired until then.",
        ),
        "LeaseIsBreakingAndCannotBeChanged": (
            409,
            "The lease is being broken and cannot be changed.",
        ),
        "LeaseIsBrokenAndCannotBeRenewed": (
            409,
            "The lease has been broken and cannot be renewed.",
        ),
        "LeaseLost": (412, "A lease ID was specified, but the lease has expired."),
        "LeaseNotPresentWithContainerOperation": (
            412,
            "There is currently no lease on the file share.",
        ),
        "LeaseNotPresentWithFileOperation": (412, "There is currently no lease on the file."),
        "LeaseNotPresentWithLeaseOperation": (409, "There is currently no lease present."),
        "Md5Mismatch": (
            400,
            "The MD5 value specified in the request did not match the one computed.",
        ),
        "MetadataTooLarge": (400, "The metadata is larger than the service allows."),
        "MissingContentLengthHeader": (411, "The Content-Length header was not specified."),
        "MissingRequiredHeader": (400, "A mandatory header is missing from this request."),
        "MissingRequiredQueryParameter": (
            400,
            "A query parameter that is mandatory for this request is not specified.",
        ),
        "MissingRequiredXmlNode": (400, "A mandatory XML node is missing from the request."),
        "NoAuthenticationInformation": (
            401,
            "Server failed to authenticate the request. See the www-authenticate header.",
        ),
        "NoPendingCopyOperation": (409, "There is currently no pending copy operation."),
        "OutOfRangeInput": (400, "One of the request inputs is out of range."),
        "OutOfRangeQueryParameterValue": (
            400,
            "One of the query parameters specified in the request URI is out of range.",
        ),
        "ParentNotFound": (404, "The specified parent path does not exist."),
        "PendingCopyOperation": (409, "There is currently a pending copy operation."),
        "PreviousSnapshotNotFound": (409, "The previous snapshot is not found."),
        "ReadOnlyAttribute": (
            409,
            "The specified resource is read-only and cannot be modified at this time.",
        ),
        "RequestBodyTooLarge": (413, "The request body is too large."),
        "ResourceAlreadyExists": (409, "The specified resource already exists."),
        "ResourceNotFound": (404, "The specified resource does not exist."),
        "ResourceTypeMismatch": (
            409,
            "The specified resource type does not match the type of the existing resource.",
        ),
        "ServerBusy": (503, "The server is currently unable to receive requests. Please retry."),
        "ShareAlreadyExists": (409, "The specified share already exists."),
        "ShareBeingDeleted": (409, "The specified share is being deleted. Try operation later."),
        "ShareHasSnapshots": (
            409,
            "The share has snapshots and the operation requires no snapshots.",
        ),
        "ShareNotFound": (404, "The specified share does not exist."),
        "ShareSnapshotCountExceeded": (409, "The share has reached its limit of snapshots."),
        "ShareSnapshotNotFound": (404, "The specified share snapshot does not exist."),
        "SharingViolation": (409, "The specified resource may be in use by an SMB client."),
        "ShareSnapshotOperationNotSupported": (
            400,
            "The operation is not supported on a share snapshot.",
        ),
        "UnsupportedHeader": (400, "One of the headers specified is not supported."),
        "UnsupportedHttpVerb": (405, "The resource does not support the specified HTTP verb."),
    }
)
"""What each code means where nothing more particular is known; faults may name others."""


class ServiceError(Exception):
    """A request is refused, as the service would refuse it.

    Attributes:
        code: the service's error code.
        status: HTTP status, from ``CODES`` unless given.
        extras: elements after ``Message`` in the XML body, in order.
        headers: headers of the answer beyond the common ones.
    """

    def __init__(
        self,
        code: str,
        *,
        status: int | None = None,
        message: str | None = None,
        extras: Mapping[str, str] = _NO_EXTRAS,
        headers: Mapping[str, str] = _NO_EXTRAS,
    ) -> None:
        known_status, known_message = CODES.get(code, (500, code))
        self.code = code
        self.status = known_status if status is None else status
        self.message = known_message if message is None else message
        self.extras = extras
        self.headers = headers
        super().__init__(code)


def invalid_header(name: str, value: str) -> ServiceError:
    """Return the refusal of a header's value."""
    return ServiceError("InvalidHeaderValue", extras={"HeaderName": name, "HeaderValue": value})


def missing_header(name: str) -> ServiceError:
    """Return the refusal of a request that lacks a header."""
    return ServiceError("MissingRequiredHeader", extras={"HeaderName": name})


def invalid_query(name: str, value: str, reason: str = "") -> ServiceError:
    """Return the refusal of a query parameter's value."""
    return ServiceError(
        "InvalidQueryParameterValue",
        extras={"QueryParameterName": name, "QueryParameterValue": value, "Reason": reason},
    )
