"""SharedKey: the string to sign and its signature (rest.md section 6.1).

Pure: the caller gives the headers as they will be sent, the date among them.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from azfilesfs.client.credentials import SharedKeyCredential

_SIGNED_HEADERS: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
# The service sorts header names by a linguistic collation: punctuation before digits before
# letters, and a hyphen counts only where the names are otherwise equal.
_COLLATION: Final = {
    character: weight
    for weight, character in enumerate("!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz")
}
_TIE_BREAKERS: Final = {"'": 1, "-": 2}


@lru_cache(maxsize=1024)
def collation_key(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the key by which the service orders canonicalized header names."""
    lowered = name.lower()
    return (
        tuple(_COLLATION[character] for character in lowered if character in _COLLATION),
        tuple(_TIE_BREAKERS.get(character, 0) for character in lowered),
    )


def hmac_base64(key: bytes, text: str) -> str:
    """Return the base64 HMAC-SHA256 of a text, the form of every signature here."""
    return base64.b64encode(hmac.digest(key, text.encode("utf-8"), "sha256")).decode()


def canonicalized_headers(headers: Mapping[str, str]) -> str:
    """Return every ``x-ms-`` header as ``name:value`` lines in the service's order."""
    return _canonicalized({name.lower(): value for name, value in headers.items()})


def _canonicalized(lowered: Mapping[str, str]) -> str:
    named = tuple(name for name in lowered if name.startswith("x-ms-"))
    return "".join([f"{name}:{lowered[name].strip()}\n" for name in _in_order(named)])


@lru_cache(maxsize=256)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Order the names of a request's headers; most requests of a kind have the same."""
    return tuple(sorted(names, key=collation_key))


def canonicalized_resource(account: str, raw_path: str, query: Iterable[tuple[str, str]]) -> str:
    """Return ``/account``, the path exactly as sent, and the decoded query, sorted by name."""
    grouped: dict[str, list[str]] = {}
    for name, value in query:
        grouped.setdefault(name.lower(), []).append(value)
    lines = [f"\n{name}:{','.join(sorted(grouped[name]))}" for name in sorted(grouped)]
    return f"/{account}{raw_path}{''.join(lines)}"


def string_to_sign(
    account: str,
    method: str,
    raw_path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
) -> str:
    """Return what a SharedKey signature covers.

    Args:
        account: the account name.
        method: the HTTP method.
        raw_path: the percent-encoded path as sent, starting with ``/``.
        query: names and decoded values.
        headers: every header of the request that takes part.
    """
    plain = {name.lower(): value for name, value in headers.items()}
    if plain.get("content-length") == "0":
        plain["content-length"] = ""
    if "x-ms-date" in plain:
        plain["date"] = ""
    lines = "\n".join([method, *[plain.get(name, "") for name in _SIGNED_HEADERS]])
    resource = canonicalized_resource(account, raw_path, query)
    return f"{lines}\n{_canonicalized(plain)}{resource}"


def authorization(credential: SharedKeyCredential, to_sign: str) -> str:
    """Return the value of the Authorization header for a string to sign."""
    return f"SharedKey {credential.account}:{hmac_base64(credential.key_bytes(), to_sign)}"
