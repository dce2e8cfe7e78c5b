"""A client library for the Azure Files REST service, usable alone under trio.

Entry points: ``ShareServiceClient.open`` and, from it, ``ShareClient``. The modules below are
    private to the package; what is
listed in ``__all__`` is public.
"""

from azfilesfs.client.breaker import BreakerPolicy, BreakerState
from azfilesfs.client.credentials import (
    Credential,
    CredentialProvider,
    SasCredential,
    SharedKeyCredential,
    StaticCredentials,
)
from azfilesfs.client.directories import ALL_DETAILS
from azfilesfs.client.endpoint import Endpoint, parse_connection_string
from azfilesfs.client.options import (
    AttemptEvent,
    ClientOptions,
    NullObserver,
    RequestObserver,
    RetryEvent,
)
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
from azfilesfs.client.retry import NO_RETRIES, RetryPolicy, RetryRule
from azfilesfs.client.secret import Secret
from azfilesfs.client.service import ShareClient, ShareServiceClient
from azfilesfs.client.timeouts import TimeoutPolicy
from azfilesfs.client.transport import HttpRequest, HttpResponse, HttpTransport, asgi_transport

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
    "Endpoint",
    "FileContent",
    "FileLease",
    "FileStream",
    "HttpRequest",
    "HttpResponse",
    "HttpTransport",
    "ListPage",
    "NullObserver",
    "RangeList",
    "RangeWritten",
    "RequestObserver",
    "RetryEvent",
    "RetryPolicy",
    "RetryRule",
    "SasCredential",
    "Secret",
    "ShareClient",
    "ShareItem",
    "ShareProperties",
    "ShareServiceClient",
    "SharedKeyCredential",
    "StaticCredentials",
    "TimeMark",
    "TimeoutPolicy",
    "Times",
    "asgi_transport",
    "parse_connection_string",
]
