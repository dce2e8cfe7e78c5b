"""From a call to a signed request: URL, common headers, authorization. Pure but for a random id."""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from azfilesfs import __version__
from azfilesfs.client.credentials import Credential, SasCredential, SharedKeyCredential
from azfilesfs.client.endpoint import Endpoint
from azfilesfs.client.requests import Call
from azfilesfs.client.signing import authorization, string_to_sign
from azfilesfs.client.timeouts import TimeoutPolicy
from azfilesfs.client.transport import WireRequest
from azfilesfs.errors import ConfigurationError
from azfilesfs.model.paths import SharePath
from azfilesfs.model.times import NS_PER_SECOND, format_rfc1123

USER_AGENT: Final = f"azfilesfs/{__version__}"


def raw_path(endpoint: Endpoint, share: str | None, path: SharePath | None) -> str:
    """Return the percent-encoded path of a resource, as sent and as signed."""
    parts = [endpoint.path]
    if share is not None:
        parts.append(share)
    if path is not None and not path.is_root:
        parts.append(path.encoded())
    return "/".join(parts) if len(parts) > 1 else f"{endpoint.path}/"


def resource_url(
    endpoint: Endpoint, share: str | None, path: SharePath | None, credential: Credential
) -> str:
    """Return the URL of a resource as a header carries it, with the SAS where one is used."""
    url = f"{endpoint.origin}{raw_path(endpoint, share, path)}"
    if isinstance(credential, SasCredential):
        return f"{url}?{credential.query()}"
    return url


def signed_request(
    endpoint: Endpoint,
    call: Call,
    credential: Credential,
    *,
    version: str,
    now: float,
    timeouts: TimeoutPolicy,
) -> WireRequest:
    """Return the request of one attempt.

    Args:
        endpoint: where to send it.
        call: what is asked for.
        credential: who asks.
        version: service version.
        now: Unix time in seconds, for the date.
        timeouts: for the limits of one attempt.

    Raises:
        ConfigurationError: the key is that of another account.
    """
    headers = _headers(endpoint, call, credential, version, now)
    path = raw_path(endpoint, call.share, call.path)
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in call.query.items()
    )
    if isinstance(credential, SharedKeyCredential):
        if credential.account != endpoint.account:
            raise ConfigurationError(
                f"the key is of account {credential.account}, the endpoint of {endpoint.account}"
            )
        to_sign = string_to_sign(endpoint.account, call.method, path, call.query.items(), headers)
        headers["Authorization"] = authorization(credential, to_sign)
    else:
        query = f"{query}&{credential.query()}" if query else credential.query()
    return WireRequest(
        method=call.method,
        url=f"{endpoint.origin}{path}{'?' if query else ''}{query}",
        headers=headers,
        body=call.body,
        connect_seconds=timeouts.connect,
        idle_seconds=timeouts.idle_seconds(call.budget, repeatable=call.repeat),
    )


@lru_cache(maxsize=2)
def _date(seconds: int) -> str:
    """Write a date; many requests are sent within the same second."""
    return format_rfc1123(seconds * NS_PER_SECOND)


def _headers(
    endpoint: Endpoint, call: Call, credential: Credential, version: str, now: float
) -> dict[str, str]:
    length = memoryview(call.body).nbytes
    headers = {
        "Host": endpoint.authority,
        "User-Agent": USER_AGENT,
        # Files are stored as they are: a compressed answer would be other bytes than those asked
        # for.
        "Accept-Encoding": "identity",
        "x-ms-version": version,
        "x-ms-date": _date(int(now)),
        "x-ms-client-request-id": str(uuid.uuid4()),
        **call.headers,
    }
    if call.method == "PUT" or length:
        headers["Content-Length"] = str(length)
    if call.path is not None:
        headers["x-ms-allow-trailing-dot"] = "true"
    if call.source is not None:
        name, source = call.source
        headers[name] = resource_url(endpoint, call.share, source, credential)
        headers["x-ms-source-allow-trailing-dot"] = "true"
    return headers
