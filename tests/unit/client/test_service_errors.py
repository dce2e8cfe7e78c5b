"""From answers to errors: the table of rest.md section 7, and the fallback on the status."""

import pytest

from azfilesfs import errors
from azfilesfs.client.requests import Call, Target
from azfilesfs.client.service_errors import error_of
from azfilesfs.client.transport import WireAnswer

FILE = Call(name="GetFile", method="GET", target=Target.FILE)
DIRECTORY = Call(name="GetDirectoryProperties", method="GET", target=Target.DIRECTORY)
SHARE = Call(name="GetShareProperties", method="GET", target=Target.SHARE)
SERVICE = Call(name="ListShares", method="GET", target=Target.SERVICE)
LEASE = Call(name="LeaseFile", method="PUT", target=Target.FILE)

CODES = {
    "ShareNotFound": (404, errors.ShareNotFound),
    "ShareSnapshotNotFound": (404, errors.ShareNotFound),
    "ParentNotFound": (404, errors.ParentNotFound),
    "ResourceNotFound": (404, errors.FileNotFound),
    "ResourceAlreadyExists": (409, errors.FileAlreadyExists),
    "ResourceTypeMismatch": (409, errors.ResourceTypeMismatch),
    "ShareAlreadyExists": (409, errors.ShareAlreadyExists),
    "ShareBeingDeleted": (409, errors.ShareBeingDeleted),
    "ShareHasSnapshots": (409, errors.ShareConflict),
    "DeleteShareWhenSnapshotLeased": (409, errors.ShareConflict),
    "ShareSnapshotInProgress": (409, errors.ShareConflict),
    "ShareSnapshotCountExceeded": (409, errors.ShareConflict),
    "ShareSnapshotOperationNotSupported": (400, errors.InvalidRequest),
    "ShareDisabled": (403, errors.ShareDisabled),
    "DirectoryNotEmpty": (409, errors.DirectoryNotEmpty),
    "CannotDeleteFileOrDirectory": (409, errors.FileLocked),
    "DeletePending": (409, errors.FileLocked),
    "SharingViolation": (409, errors.FileLocked),
    "FileLockConflict": (409, errors.FileLocked),
    "FileOpenBySmbClient": (409, errors.FileLocked),
    "ClientCacheFlushDelay": (500, errors.FileLocked),
    "ReadOnlyAttribute": (409, errors.ReadOnlyFile),
    "LeaseIdMissing": (412, errors.LeaseIdMissing),
    "LeaseIdMismatchWithFileOperation": (412, errors.LeaseIdMismatch),
    "LeaseIdMismatchWithContainerOperation": (412, errors.LeaseIdMismatch),
    "LeaseIdMismatchWithLeaseOperation": (409, errors.LeaseIdMismatch),
    "LeaseNotPresentWithFileOperation": (412, errors.LeaseNotPresent),
    "LeaseNotPresentWithContainerOperation": (412, errors.LeaseNotPresent),
    "LeaseNotPresentWithLeaseOperation": (409, errors.LeaseNotPresent),
    "LeaseAlreadyPresent": (409, errors.LeaseAlreadyPresent),
    "LeaseLost": (412, errors.LeaseExpired),
    "LeaseIsBreakingAndCannotBeAcquired": (409, errors.LeaseExpired),
    "LeaseIsBrokenAndCannotBeRenewed": (409, errors.LeaseExpired),
    "LeaseSomethingNew": (409, errors.LeaseError),
    "InvalidRange": (416, errors.InvalidRange),
    "OutOfRangeInput": (400, errors.FileTooLarge),
    "RequestBodyTooLarge": (413, errors.FileTooLarge),
    "Md5Mismatch": (400, errors.IntegrityError),
    "InvalidMd5": (400, errors.InvalidRequest),
    "Crc64ConditionNotMet": (412, errors.ConditionNotMet),
    "ConditionNotMet": (412, errors.ConditionNotMet),
    "FileGenerationMismatch": (409, errors.ConditionNotMet),
    "CannotVerifyCopySource": (404, errors.CopyFailed),
    "NoPendingCopyOperation": (409, errors.CopyFailed),
    "PendingCopyOperation": (409, errors.CopyFailed),
    "InvalidResourceName": (400, errors.InvalidPath),
    "InvalidFileOrDirectoryPathName": (400, errors.InvalidPath),
    "InvalidHeaderValue": (400, errors.InvalidRequest),
    "MissingRequiredHeader": (400, errors.InvalidRequest),
    "InvalidQueryParameterValue": (400, errors.InvalidRequest),
    "OutOfRangeQueryParameterValue": (400, errors.InvalidRequest),
    "InvalidUri": (400, errors.InvalidRequest),
    "EmptyMetadataKey": (400, errors.InvalidRequest),
    "InvalidMetadata": (400, errors.InvalidRequest),
    "MetadataTooLarge": (400, errors.InvalidRequest),
    "InvalidXmlDocument": (400, errors.InvalidRequest),
    "FileInvalidPermission": (400, errors.InvalidRequest),
    "InvalidContinuationToken": (400, errors.InvalidRequest),
    "MissingContentLengthHeader": (411, errors.InvalidRequest),
    "UnsupportedHttpVerb": (405, errors.InvalidRequest),
    "ConditionHeadersNotSupported": (400, errors.InvalidRequest),
    "AuthenticationFailed": (403, errors.InvalidKey),
    "InvalidAuthenticationInfo": (401, errors.InvalidKey),
    "NoAuthenticationInformation": (401, errors.InvalidKey),
    "AuthorizationFailure": (403, errors.AuthorizationFailure),
    "AuthorizationPermissionMismatch": (403, errors.PermissionDenied),
    "AuthorizationProtocolMismatch": (403, errors.AuthorizationFailure),
    "AuthorizationSourceIPMismatch": (403, errors.AuthorizationFailure),
    "AuthorizationServiceMismatch": (403, errors.PermissionDenied),
    "AuthorizationResourceTypeMismatch": (403, errors.PermissionDenied),
    "InsufficientAccountPermissions": (403, errors.PermissionDenied),
    "AccountIsDisabled": (403, errors.AuthorizationFailure),
    "InternalError": (500, errors.InternalError),
    "OperationTimedOut": (500, errors.OperationTimedOut),
    "ServerBusy": (503, errors.ServerBusy),
}


def body_of(code: str, extra: str = "", message: str = "What was wrong.\nRequestId:x") -> bytes:
    """Return an error document."""
    head = "\ufeff<?xml version='1.0'?>"
    text = f"<Code>{code}</Code><Message>{message}</Message>{extra}"
    return f"{head}<Error>{text}</Error>".encode()


def decide(call, status, code=None, body=b"", confirmed=True, **headers):
    """Return the error for an answer."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    if code:
        named["x-ms-error-code"] = code
    return error_of(call, WireAnswer(status, named, (), body), is_version_confirmed=confirmed)


@pytest.mark.parametrize("code", CODES)
def test_codes(code):
    """The code decides, from the header or from the body."""
    status, cls = CODES[code]

    by_header = decide(FILE, status, code)
    by_body = decide(FILE, status, body=body_of(code))

    assert type(by_header) is cls
    assert type(by_body) is cls
    assert (by_header.status, by_header.code) == (status, code)
    assert by_body.code == code
    assert by_body.message == "What was wrong."


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (302, errors.ProtocolError),
        (400, errors.InvalidRequest),
        (401, errors.InvalidKey),
        (403, errors.PermissionDenied),
        (404, errors.FileNotFound),
        (408, errors.OperationTimedOut),
        (409, errors.FileLocked),
        (412, errors.LeaseIdMismatch),
        (413, errors.FileTooLarge),
        (416, errors.InvalidRange),
        (418, errors.InvalidRequest),
        (429, errors.ServerBusy),
        (500, errors.InternalError),
        (502, errors.InternalError),
        (503, errors.ServiceUnavailable),
        (504, errors.InternalError),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>gateway</html>", b"gateway", body_of("SomethingNew")]
)
def test_statuses(status, cls, body):
    """Without a known code the status decides, whatever a gateway writes."""
    assert type(decide(FILE, status, body=body)) is cls


@pytest.mark.parametrize(
    ("call", "cls"),
    [
        (FILE, errors.FileNotFound),
        (DIRECTORY, errors.DirectoryNotFound),
        (SHARE, errors.ShareNotFound),
        (SERVICE, errors.InvalidRequest),
    ],
)
def test_what_is_missing_is_what_was_asked_for(call, cls):
    """A 404 of a leaf is an error of the kind that the operation addressed."""
    assert type(decide(call, 404)) is cls
    assert type(decide(call, 404, "ResourceNotFound")) is cls
    assert type(decide(call, 404, "ShareNotFound")) is errors.ShareNotFound


def test_conflicts_by_operation():
    """A bare 409 means a lease conflict on a lease operation, and one of the share on a share's."""
    assert type(decide(LEASE, 409)) is errors.LeaseError
    assert type(decide(SHARE, 409)) is errors.ShareConflict
    assert type(decide(SHARE, 400, "InvalidResourceName")) is errors.InvalidShareName


def test_a_refused_version():
    """It is told by the header that the body names; by HEAD's bare code while unconfirmed."""
    named = body_of("InvalidHeaderValue", "<HeaderName>x-ms-version</HeaderName>")
    other = body_of("InvalidHeaderValue", "<HeaderName>x-ms-lease-id</HeaderName>")

    assert type(decide(FILE, 400, "InvalidHeaderValue", named)) is errors.UnsupportedServiceVersion
    assert (
        type(decide(FILE, 400, "InvalidHeaderValue", other, confirmed=False))
        is errors.InvalidRequest
    )
    assert type(decide(FILE, 400, "InvalidHeaderValue")) is errors.InvalidRequest
    assert (
        type(decide(FILE, 400, "InvalidHeaderValue", confirmed=False))
        is errors.UnsupportedServiceVersion
    )
    assert "[x-ms-lease-id]" in str(decide(FILE, 400, "InvalidHeaderValue", other))


@pytest.mark.parametrize(
    "detail",
    [
        "Signature not valid in the specified time frame: Start [x] - Expiry [y] - Current [z]",
        "The key has expired",
    ],
)
def test_an_expired_signature(detail):
    """A refusal for reasons of time is an ExpiredSas, any other of the signature an InvalidKey."""
    extra = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>"
    other = "<AuthenticationErrorDetail>sr is mandatory</AuthenticationErrorDetail>"

    body = body_of("AuthenticationFailed", extra)
    assert type(decide(FILE, 403, "AuthenticationFailed", body)) is errors.ExpiredSas
    body = body_of("AuthenticationFailed", other)
    assert type(decide(FILE, 403, "AuthenticationFailed", body)) is errors.InvalidKey


def test_facts_that_an_error_carries():
    """Retry-After, the size of a 416 and the ambiguity of a 500 are kept."""
    assert decide(FILE, 503, "ServerBusy", Retry_After="7").retry_after == 7
    assert decide(FILE, 503, "ServerBusy", Retry_After="soon").retry_after is None
    assert decide(FILE, 416, "InvalidRange", content_range="bytes */42").file_size == 42
    assert decide(FILE, 416, "InvalidRange", content_range="bytes 0-1/42").file_size is None
    assert decide(FILE, 416, "InvalidRange").file_size is None
    assert decide(FILE, 500, "InternalError").may_have_been_applied
    assert not decide(FILE, 503, "ServerBusy").may_have_been_applied
    assert not decide(FILE, 404).may_have_been_applied


def test_messages_hide_secrets():
    """A message in which the service repeats a signature is redacted."""
    body = body_of("InvalidUri", message="bad https://a/b?sig=hunter2")

    assert "hunter2" not in str(decide(FILE, 400, "InvalidUri", body))
