"""From what httpx raises to our errors: the one table, whatever carries the requests."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx
import trio

from azfilesfs import errors
from azfilesfs.client.secret import redact


def too_long(limit: int) -> errors.ProtocolError:
    """Return the error for a body that is longer than was asked for."""
    return errors.ProtocolError(f"the answer's body is longer than {limit} bytes")


class Mapped:
    """Turns what httpx raises in its block into our errors, chained.

    It has no state of its own: one serves all requests.
    """

    def __init__(self, *, reading: bool) -> None:
        """Tell whether an answer has begun."""
        self._reading = reading

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Raise what the error stands for, if it is one of those."""
        if isinstance(error, httpx.TransportError):
            raise _translate(error, reading=self._reading) from error
        if isinstance(error, httpx.InvalidURL):
            # Not chained: the cause's text may quote the URL.
            raise errors.InvalidRequest("the request has no valid URL") from None
        if isinstance(error, (OSError, trio.BrokenResourceError, trio.ClosedResourceError)):
            raise errors.ConnectionFailed(
                f"the connection broke: {redact(str(error))}", may_have_been_applied=True
            ) from error


_SENDING: Final = Mapped(reading=False)
_READING: Final = Mapped(reading=True)


def mapped(*, reading: bool = False) -> Mapped:
    """Turn what httpx raises into our errors, chained."""
    return _READING if reading else _SENDING


def _translate(error: httpx.TransportError, *, reading: bool) -> errors.AzureFilesError:
    text = redact(str(error)) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return errors.Timeout("no connection within the time for it")
    if isinstance(error, httpx.PoolTimeout):
        return errors.ConnectionFailed("no connection was free")
    if isinstance(error, httpx.TimeoutException):
        return errors.Timeout("the connection stood still for too long", may_have_been_applied=True)
    if isinstance(error, (httpx.ConnectError, httpx.ProxyError)):
        return _connect_failure(error, text)
    if isinstance(error, httpx.RemoteProtocolError):
        return _protocol_failure(text, reading=reading)
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        return errors.InvalidRequest(f"the request cannot be sent: {type(error).__name__}")
    return errors.ConnectionFailed(f"the connection broke: {text}", may_have_been_applied=True)


def _connect_failure(error: BaseException, text: str) -> errors.AzureFilesError:
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return errors.DnsResolutionFailed(f"the host name does not resolve: {cause.strerror}")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return errors.TlsFailed(f"the certificate was refused: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return errors.TlsFailed(f"the TLS handshake failed: {cause.reason or text}")
    return errors.ConnectionFailed(f"no connection: {text}")


def _protocol_failure(text: str, *, reading: bool) -> errors.AzureFilesError:
    if reading:
        return errors.IntegrityError(
            "the connection was closed in the middle of the answer's body",
            may_have_been_applied=True,
        )
    if text.startswith("Server disconnected"):
        return errors.ConnectionFailed(
            "the server closed the connection without an answer", may_have_been_applied=True
        )
    return errors.ProtocolError(f"the answer is not HTTP: {text}", may_have_been_applied=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, and the members of groups on the way."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            pending.extend(current.exceptions)
        pending.extend(cause for cause in (current.__cause__, current.__context__) if cause)
