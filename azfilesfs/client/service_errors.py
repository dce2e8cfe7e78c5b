"""From an answer of the service to an error: by code first, then by status (rest.md section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from azfilesfs import errors
from azfilesfs.client.requests import Call, Target
from azfilesfs.client.secret import redact
from azfilesfs.client.transport import WireAnswer
from azfilesfs.client.xml_documents import Element, parse_document

_BY_CODE: Final[Mapping[str, type[errors.AzureFilesError]]] = {
    code: cls
    for cls, codes in {
        errors.ShareNotFound: "ShareNotFound ShareSnapshotNotFound PreviousSnapshotNotFound",
        errors.ShareAlreadyExists: "ShareAlreadyExists",
        errors.ShareBeingDeleted: "ShareBeingDeleted",
        errors.ShareConflict: (
            "ShareHasSnapshots DeleteShareWhenSnapshotLeased ShareSnapshotInProgress"
            " ShareSnapshotCountExceeded ContainerQuotaDowngradeNotAllowed"
            " FileShareProvisionedBandwidthDowngradeNotAllowed"
            " FileShareProvisionedIopsDowngradeNotAllowed"
            " FileShareProvisionedStorageDowngradeNotAllowed"
            " FileShareAccessTierTransitionNotAllowed FeatureVersionMismatch"
        ),
        errors.ShareDisabled: "ShareDisabled",
        errors.ParentNotFound: "ParentNotFound",
        errors.FileAlreadyExists: "ResourceAlreadyExists",
        errors.ResourceTypeMismatch: "ResourceTypeMismatch",
        errors.DirectoryNotEmpty: "DirectoryNotEmpty",
        errors.FileLocked: (
            "CannotDeleteFileOrDirectory DeletePending SharingViolation FileLockConflict"
            " FileOpenBySmbClient ClientCacheFlushDelay"
        ),
        errors.ReadOnlyFile: "ReadOnlyAttribute",
        errors.LeaseIdMissing: "LeaseIdMissing",
        errors.LeaseIdMismatch: (
            "LeaseIdMismatchWithFileOperation LeaseIdMismatchWithLeaseOperation"
            " LeaseIdMismatchWithContainerOperation LeaseIdMismatchWithShareOperation"
        ),
        errors.LeaseNotPresent: (
            "LeaseNotPresentWithFileOperation LeaseNotPresentWithLeaseOperation"
            " LeaseNotPresentWithContainerOperation LeaseNotPresentWithShareOperation"
        ),
        errors.LeaseAlreadyPresent: "LeaseAlreadyPresent",
        errors.LeaseExpired: (
            "LeaseLost LeaseIsBreakingAndCannotBeAcquired LeaseIsBreakingAndCannotBeChanged"
            " LeaseIsBrokenAndCannotBeRenewed LeaseAlreadyBroken"
        ),
        errors.InvalidRange: "InvalidRange",
        errors.FileTooLarge: "OutOfRangeInput RequestBodyTooLarge",
        errors.IntegrityError: "Md5Mismatch",
        errors.ConditionNotMet: "ConditionNotMet Crc64ConditionNotMet FileGenerationMismatch",
        errors.CopyFailed: "CannotVerifyCopySource NoPendingCopyOperation PendingCopyOperation",
        errors.InvalidPath: "InvalidResourceName InvalidFileOrDirectoryPathName",
        errors.InvalidKey: (
            "AuthenticationFailed InvalidAuthenticationInfo NoAuthenticationInformation"
        ),
        errors.PermissionDenied: (
            "AuthorizationPermissionMismatch AuthorizationResourceTypeMismatch"
            " AuthorizationServiceMismatch InsufficientAccountPermissions"
        ),
        errors.AuthorizationFailure: (
            "AuthorizationFailure AuthorizationProtocolMismatch AuthorizationSourceIPMismatch"
            " AccountIsDisabled"
        ),
        errors.InternalError: "InternalError",
        errors.OperationTimedOut: "OperationTimedOut",
        errors.ServerBusy: "ServerBusy",
    }.items()
    for code in codes.split()
}
_BY_STATUS: Final[Mapping[int, type[errors.AzureFilesError]]] = {
    401: errors.InvalidKey,
    403: errors.PermissionDenied,
    408: errors.OperationTimedOut,
    409: errors.FileLocked,
    412: errors.LeaseIdMismatch,
    413: errors.FileTooLarge,
    416: errors.InvalidRange,
    429: errors.ServerBusy,
    503: errors.ServiceUnavailable,
}
_VERSION_HEADER: Final = "x-ms-version"


def error_of(
    call: Call, answer: WireAnswer, *, is_version_confirmed: bool
) -> errors.AzureFilesError:
    """Return the error that an answer of another than a success status stands for.

    Args:
        call: the operation that was asked for.
        answer: what came.
        is_version_confirmed: whether the service has accepted the version of this request before;
            if it has not, a refusal of some header that cannot be named (HEAD has no body) is taken
            as one of the version.
    """
    document = _document(answer)
    code = answer.headers.get("x-ms-error-code") or _text(document, "Code")
    cls = _class_of(call, answer.status, code)
    if cls is errors.InvalidRequest and code == "InvalidHeaderValue":
        named = _text(document, "HeaderName")
        if (named or "").lower() == _VERSION_HEADER or (named is None and not is_version_confirmed):
            cls = errors.UnsupportedServiceVersion
    if cls is errors.InvalidKey and _speaks_of_time(document):
        cls = errors.ExpiredSas
    error = cls(
        _message(document, answer.status, code),
        status=answer.status,
        code=code,
        retry_after=_retry_after(answer),
        may_have_been_applied=answer.status in {408, 500, 502, 504},
    )
    if isinstance(error, errors.InvalidRange):
        error.file_size = _size_of(answer.headers.get("content-range"))
    return error


def _class_of(call: Call, status: int, code: str | None) -> type[errors.AzureFilesError]:
    if code == "ResourceNotFound" or (status == 404 and code not in _BY_CODE):
        return {
            Target.SERVICE: errors.InvalidRequest,
            Target.SHARE: errors.ShareNotFound,
            Target.DIRECTORY: errors.DirectoryNotFound,
            Target.FILE: errors.FileNotFound,
        }[call.target]
    if code is not None and code in _BY_CODE:
        cls = _BY_CODE[code]
        if cls is errors.InvalidPath and call.target is Target.SHARE:
            return errors.InvalidShareName
        return cls
    if code is not None and code.startswith("Lease") and status in {409, 412}:
        return errors.LeaseError
    return _class_by_status(call, status)


def _class_by_status(call: Call, status: int) -> type[errors.AzureFilesError]:
    if status == 409 and call.name in {"LeaseFile", "LeaseShare"}:
        return errors.LeaseError
    if status == 409 and call.target is Target.SHARE:
        return errors.ShareConflict
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return errors.InternalError
    # A redirection or an informational answer is nothing that the file service sends.
    return errors.InvalidRequest if 400 <= status < 500 else errors.ProtocolError


def _document(answer: WireAnswer) -> Element | None:
    if not answer.body:
        return None
    try:
        return parse_document(bytes(answer.body))
    except errors.ProtocolError:
        # A gateway's page: the status has to do.
        return None


def _text(document: Element | None, name: str) -> str | None:
    return document.text_of(name) if document is not None else None


def _speaks_of_time(document: Element | None) -> bool:
    detail = (_text(document, "AuthenticationErrorDetail") or "").lower()
    return "time frame" in detail or "expir" in detail


def _message(document: Element | None, status: int, code: str | None) -> str:
    text = (_text(document, "Message") or "").partition("\n")[0].strip()
    named = _text(document, "HeaderName") or _text(document, "QueryParameterName")
    if not text:
        text = f"the service answered {code or status}"
    return redact(f"{text} [{named}]" if named else text)


def _retry_after(answer: WireAnswer) -> float | None:
    text = answer.headers.get("retry-after", "").strip()
    # The other form, a date, is never sent by a storage service.
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _size_of(content_range: str | None) -> int | None:
    unit, _, size = (content_range or "").partition("/")
    if unit.strip() == "bytes *" and size.isascii() and size.isdigit():
        return int(size)
    return None
