"""Texts of flags, environment and files to values; ``ValueError`` says what is wanted."""

from __future__ import annotations

import binascii
import grp
import math
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_SIZE_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", re.IGNORECASE)
_DURATION_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})
_LEAST_BANDWIDTH: Final = 256 * 2**10
_HIGHEST_ID: Final = 2**32 - 2
"""The id above means "no change" to chown(2)."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """Where to listen."""

    host: str
    port: int


def text(value: str) -> str:
    """Take a text as it is, unless it is empty."""
    if not value:
        raise ValueError("must not be empty")
    return value


def path(value: str) -> Path:
    """Read a path; ``~`` is the home directory, relative ones start here."""
    return Path(os.path.abspath(Path(text(value)).expanduser()))


def base64_text(value: str) -> str:
    """Take a text that is base64, as it is."""
    try:
        binascii.a2b_base64(text(value).encode(), strict_mode=True)
    except binascii.Error:
        raise ValueError("must be base64") from None
    return value


def size(value: str) -> int:
    """Read a number of bytes: ``512``, ``64K``, ``1.5 GiB``; units are powers of 1,024."""
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be a size such as 512M or 8G")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def positive_size(value: str) -> int:
    """Read a number of bytes above 0."""
    found = size(value)
    if found < 1:
        raise ValueError("must be more than 0")
    return found


def bandwidth(value: str) -> int:
    """Read bytes a second; ranges of 4 MiB must pass well within their deadline."""
    found = size(value)
    if found < _LEAST_BANDWIDTH:
        raise ValueError("must be at least 256K, in bytes a second")
    return found


def duration(value: str) -> float:
    """Read seconds: ``1``, ``0.5``, ``250ms``, ``2m``, ``1h``."""
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be a duration such as 5, 250ms or 2m")
    return float(match[1]) * _DURATION_UNITS[match[2].lower()]


def positive_duration(value: str) -> float:
    """Read seconds above 0."""
    found = duration(value)
    if not 0 < found < math.inf:
        raise ValueError("must be more than 0")
    return found


def lock_ttl(value: str) -> int:
    """Read the time to live of a session: whole seconds, enough for several requests."""
    seconds = count(value)
    if not 4 <= seconds <= 3600:
        raise ValueError("must be a number of seconds from 4 to 3600")
    return seconds


def count(value: str) -> int:
    """Read a whole number above 0."""
    if not value.strip().isdecimal() or int(value) < 1:
        raise ValueError("must be a whole number above 0")
    return int(value)


def mode(value: str) -> int:
    """Read permission bits in octal: ``644``, ``0755``, ``0o755``."""
    digits = value.strip().removeprefix("0o")
    if not re.fullmatch(r"[0-7]{1,4}", digits):
        raise ValueError("must be octal permissions such as 0755")
    return int(digits, 8)


def boolean(value: str) -> bool:
    """Read a switch: true or false, yes or no, on or off, 1 or 0."""
    word = value.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError("must be true or false")


def user(value: str) -> int:
    """Read a user: a number or a name."""
    if value.isdecimal():
        return _id(value)
    try:
        return pwd.getpwnam(text(value)).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {value!r}") from None


def group(value: str) -> int:
    """Read a group: a number or a name."""
    if value.isdecimal():
        return _id(value)
    try:
        return grp.getgrnam(text(value)).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {value!r}") from None


def _id(value: str) -> int:
    if int(value) > _HIGHEST_ID:
        raise ValueError(f"must not exceed {_HIGHEST_ID}")
    return int(value)


def host_port(value: str) -> HostPort:
    """Read ``HOST:PORT`` or ``[ADDRESS]:PORT``; port 0 takes a free one."""
    host, colon, port = value.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 0xFFFF:
        raise ValueError("must be HOST:PORT")
    return HostPort(host, int(port))
