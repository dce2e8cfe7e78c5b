"""Which transport carries requests over the network, and with what settings."""

from __future__ import annotations

from enum import Enum

import httpx

from azfilesfs.client.network import tls_context
from azfilesfs.client.transport.connections import ConnectionPool, stock_transport
from azfilesfs.client.transport.dialing import Dialer, proxy_of
from azfilesfs.client.transport.fast import FastTransport
from azfilesfs.errors import ConfigurationError


class TransportKind(Enum):
    """Who reads and writes the connections: this project, or httpx's own library."""

    FAST = "fast"
    HTTPX = "httpx"


def network_transport(
    *,
    is_https: bool,
    ca_file: str | None,
    proxy: str | None,
    kind: TransportKind = TransportKind.FAST,
) -> FastTransport | ConnectionPool:
    """Return a transport over real connections; the caller closes it with ``aclose``.

    A proxy that is itself reached by TLS is httpx's business, whichever kind is asked for: one TLS
    inside another needs no speed of ours.

    Raises:
        ConfigurationError: the proxy or the file of authorities is unusable.
    """
    context = tls_context(ca_file, httpx.create_ssl_context) if is_https else None
    through = _proxy(proxy) if proxy is not None else None
    is_direct = through is None or (through.url.scheme == "http" and is_https)
    if kind is TransportKind.FAST and is_direct:
        return FastTransport(Dialer(context, proxy_of(through) if through is not None else None))
    return stock_transport(context, through)


def _proxy(text: str) -> httpx.Proxy:
    try:
        proxy = httpx.Proxy(text)
    except (ValueError, httpx.InvalidURL):
        # Not chained: a proxy URL may contain a password.
        raise ConfigurationError("the proxy that the environment names is no URL") from None
    if proxy.url.scheme not in {"http", "https"}:
        raise ConfigurationError("the proxy that the environment names is not an http proxy")
    return proxy
