"""Signatures for requests to the emulator, written down a second time, from the rules alone."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SLOTS = [
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
]
SAS_OVERRIDES = ("rscc", "rscd", "rsce", "rscl", "rsct")


def hmac_b64(key: str, text: str) -> str:
    """Return the signature of a text with a base64 key."""
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def authorization(account: str, key: str, method: str, url: str, headers: Mapping[str, str]) -> str:
    """Return the Authorization header of a request; header names in lower case."""
    parts = urlsplit(url)
    slots = [headers.get(name, "") for name in SLOTS]
    slots[2] = "" if slots[2] == "0" else slots[2]
    slots[5] = "" if "x-ms-date" in headers else slots[5]
    names = sorted(name for name in headers if name.startswith("x-ms-"))
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True):
        query.setdefault(name.lower(), []).append(value)
    lines = [method, *slots, *(f"{name}:{headers[name]}" for name in names)]
    lines.append(f"/{account}{parts.path or '/'}")
    lines += [f"{name}:{','.join(sorted(values))}" for name, values in sorted(query.items())]
    return f"SharedKey {account}:{hmac_b64(key, chr(10).join(lines))}"


def service_sas(account: str, key: str, share: str, path: str = "", **fields: str) -> str:
    """Return the query of a service SAS; ``sr`` follows from the path."""
    values = {"sv": "2026-10-06", "sr": "f" if path else "s", **fields}
    resource = f"/file/{account}/{share}" + (f"/{path}" if path else "")
    lines = [values.get(name, "") for name in ("sp", "st", "se")]
    lines += [resource, *(values.get(name, "") for name in ("si", "sip", "spr", "sv"))]
    lines += [values.get(name, "") for name in SAS_OVERRIDES]
    values["sig"] = hmac_b64(key, "\n".join(lines))
    return _encode(values)


def account_sas(account: str, key: str, **fields: str) -> str:
    """Return the query of an account SAS."""
    values = {"sv": "2026-10-06", "ss": "f", "srt": "sco", **fields}
    names = ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv")
    text = "\n".join([account, *(values.get(name, "") for name in names)]) + "\n"
    if values["sv"] >= "2020-12-06":
        text += values.get("ses", "") + "\n"
    values["sig"] = hmac_b64(key, text)
    return _encode(values)


def _encode(values: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items())


def resign_sas(account: str, key: str, path: str, query: Mapping[str, str]) -> str:
    """Return a query with the signature of its SAS computed anew; ``path`` is ``/share/file``."""
    fields = {name: value for name, value in query.items() if name != "sig"}
    if "ss" in fields:
        text = account_sas(account, key, **fields)
    else:
        share, _, rest = unquote(path).strip("/").partition("/")
        inner = rest if fields.get("sr") == "f" else ""
        text = service_sas(account, key, share, inner, **fields)
    return text
