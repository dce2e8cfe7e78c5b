"""The HTTP seam, and the only importer of httpx, httpcore and httptools: requests in, answers out.

``Transport`` is what the pipeline uses. Below it anything serves that is an ``HttpTransport``: the
network, an ASGI application, a recording.
"""

import httpx

from azfilesfs.client.transport.asgi import asgi_transport
from azfilesfs.client.transport.connections import ConnectionPool
from azfilesfs.client.transport.fast import FastTransport
from azfilesfs.client.transport.messages import WireAnswer, WireRequest, WireStream
from azfilesfs.client.transport.network import TransportKind, network_transport
from azfilesfs.client.transport.sending import Transport

HttpTransport = httpx.AsyncBaseTransport
HttpRequest = httpx.Request
HttpResponse = httpx.Response

__all__ = [
    "ConnectionPool",
    "FastTransport",
    "HttpRequest",
    "HttpResponse",
    "HttpTransport",
    "Transport",
    "TransportKind",
    "WireAnswer",
    "WireRequest",
    "WireStream",
    "asgi_transport",
    "network_transport",
]
