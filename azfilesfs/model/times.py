"""Times on the wire. Inside, a time is an int: nanoseconds since 1970, a multiple of 100.

The service counts 100 ns ticks since 0001-01-01 (rest.md sections 5.3 and 10) and writes them as
ISO 8601 with seven fraction digits, as RFC 1123 with whole seconds, and, in the ETag, as hex.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Final

TICK_NS: Final = 100
NS_PER_SECOND: Final = 1_000_000_000
_TICKS_PER_SECOND: Final = 10_000_000
_UNIX_EPOCH_TICKS: Final = 621_355_968_000_000_000
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,7})\d*)?(?:Z|\+00:00)")


def floor_to_tick(ns: int) -> int:
    """Cut nanoseconds to the service's resolution of 100 ns."""
    return ns - ns % TICK_NS


def ns_to_ticks(ns: int) -> int:
    """Convert Unix nanoseconds to ticks since 0001-01-01."""
    return ns // TICK_NS + _UNIX_EPOCH_TICKS


def ticks_to_ns(ticks: int) -> int:
    """Convert ticks since 0001-01-01 to Unix nanoseconds."""
    return (ticks - _UNIX_EPOCH_TICKS) * TICK_NS


def format_iso(ns: int) -> str:
    """Write a time as the file service does: ``2022-11-30T22:57:12.2909957Z``."""
    seconds, rest = divmod(ns, NS_PER_SECOND)
    return f"{_iso_second(seconds)}.{rest // TICK_NS:07d}Z"


@lru_cache(maxsize=64)
def _iso_second(seconds: int) -> str:
    """Write a second; the times of many files lie in the same one."""
    # Added to the epoch rather than converted, for the years before 1970.
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0")


def parse_iso(text: str) -> int:
    """Read an ISO 8601 UTC time of the service, cutting digits beyond 100 ns.

    Raises:
        ValueError: the text is not such a time.
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise ValueError("not an ISO 8601 UTC time")
    *second, fraction = match.groups()
    return _seconds_of(*second) * NS_PER_SECOND + int((fraction or "").ljust(7, "0")) * TICK_NS


@lru_cache(maxsize=64)
def _seconds_of(year: str, month: str, day: str, hour: str, minute: str, second: str) -> int:
    """Read a second; the times of many files lie in the same one."""
    moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), 0, UTC)
    return round(moment.timestamp())


def format_rfc1123(ns: int) -> str:
    """Write a time as HTTP does, in whole seconds: ``Mon, 27 Jan 2014 22:15:50 GMT``."""
    return format_datetime(datetime.fromtimestamp(ns // NS_PER_SECOND, UTC), usegmt=True)


@lru_cache(maxsize=64)
def parse_rfc1123(text: str) -> int:
    """Read an HTTP date; many answers have the same.

    Raises:
        ValueError: the text is not such a date.
    """
    moment = parsedate_to_datetime(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * NS_PER_SECOND


def etag_of(ns: int) -> str:
    """Return the ETag of a resource last modified at ``ns``, with its quotes."""
    return f'"0x{ns_to_ticks(ns):X}"'
