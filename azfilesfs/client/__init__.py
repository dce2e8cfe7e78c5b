"""A client library for the Azure Files REST service, usable alone under trio.

Entry points: ``ShareServiceClient.open`` and, from it, ``ShareClient``. The modules below are
private to the package; what is listed in ``__all__`` is public.
"""

from azfilesfs.client.admission import RequestStatistics
from azfilesfs.client.breaker import BreakerPolicy, BreakerState
from azfilesfs.client.credential_sources import (
    CredentialValues,
    FileCredentials,
    read_credential_file,
    values_from_environment,
    values_from_text,
)
from azfilesfs.client.credentials import (
    Credential,
    CredentialProvider,
    SasCredential,
    SharedKeyCredential,
    StaticCredentials,
    may_write,
)
from azfilesfs.client.directories import ALL_DETAILS
from azfilesfs.client.endpoint import Endpoint, parse_connection_string
from azfilesfs.client.narrow_sas import (
    drop_box_share_sas,
    list_shares_sas,
    read_only_file_sas,
    read_only_share_sas,
    read_write_share_sas,
    write_file_sas,
)
from azfilesfs.client.options import (
    AttemptEvent,
    ClientOptions,
    NullObserver,
    RequestObserver,
    RetryEvent,
)
from azfilesfs.client.priority import Priority, Urgency, prioritised
from azfilesfs.client.reads import FileStream
from azfilesfs.client.requests import NOW, PRESERVE, Buffer, TimeMark, Times
from azfilesfs.client.responses import (
    FileContent,
    FileLease,
    ListPage,
    RangeList,
    RangeWritten,
    ShareItem,
    ShareProperties,
)
from azfilesfs.client.retry import NO_RETRIES, RetryPolicy, RetryRule, default_rules
from azfilesfs.client.sas import (
    Protocols,
    ResponseHeaders,
    SasLimits,
    SasScope,
    UserDelegationKey,
    account_sas,
    service_sas,
    user_delegation_sas,
)
from azfilesfs.client.secret import Secret, redact
from azfilesfs.client.service import ShareClient, ShareServiceClient
from azfilesfs.client.shared_state import (
    append,
    create_exclusively,
    held_lease,
    held_share_lease,
    update_if_unchanged,
)
from azfilesfs.client.timeouts import TimeoutPolicy
from azfilesfs.client.transfers import NewFile, Sink, Source, TransferOptions, download, upload
from azfilesfs.client.transport import (
    HttpRequest,
    HttpResponse,
    HttpTransport,
    TransportKind,
    asgi_transport,
)

__all__ = [
    "ALL_DETAILS",
    "NOW",
    "NO_RETRIES",
    "PRESERVE",
    "AttemptEvent",
    "BreakerPolicy",
    "BreakerState",
    "Buffer",
    "ClientOptions",
    "Credential",
    "CredentialProvider",
    "CredentialValues",
    "Endpoint",
    "FileContent",
    "FileCredentials",
    "FileLease",
    "FileStream",
    "HttpRequest",
    "HttpResponse",
    "HttpTransport",
    "ListPage",
    "NewFile",
    "NullObserver",
    "Priority",
    "Protocols",
    "RangeList",
    "RangeWritten",
    "RequestObserver",
    "RequestStatistics",
    "ResponseHeaders",
    "RetryEvent",
    "RetryPolicy",
    "RetryRule",
    "SasCredential",
    "SasLimits",
    "SasScope",
    "Secret",
    "ShareClient",
    "ShareItem",
    "ShareProperties",
    "ShareServiceClient",
    "SharedKeyCredential",
    "Sink",
    "Source",
    "StaticCredentials",
    "TimeMark",
    "TimeoutPolicy",
    "Times",
    "TransferOptions",
    "TransportKind",
    "Urgency",
    "UserDelegationKey",
    "account_sas",
    "append",
    "asgi_transport",
    "create_exclusively",
    "default_rules",
    "download",
    "drop_box_share_sas",
    "held_lease",
    "held_share_lease",
    "list_shares_sas",
    "may_write",
    "parse_connection_string",
    "prioritised",
    "read_credential_file",
    "read_only_file_sas",
    "read_only_share_sas",
    "read_write_share_sas",
    "redact",
    "service_sas",
    "update_if_unchanged",
    "upload",
    "user_delegation_sas",
    "values_from_environment",
    "values_from_text",
    "write_file_sas",
]
