"""Times on the wire and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model import times

# From the year 1 to the year 9999, in ticks of 100 ns.
ALL_TICKS = st.integers(0, 3_155_378_975_999_999_999)


def test_the_recorded_etag():
    """The ETag is the hex of the ticks of the last change."""
    moment = times.parse_iso("2026-06-23T17:50:24.7024512Z")

    assert times.etag_of(moment) == '"0x8DED14FE7569F80"'


def test_known_forms():
    """The service's ISO form has seven digits, HTTP's has whole seconds."""
    moment = times.parse_iso("2022-11-30T22:57:12.2909957Z")

    assert moment == 1_669_849_032_290_995_700
    assert times.format_iso(moment) == "2022-11-30T22:57:12.2909957Z"
    assert times.format_rfc1123(moment) == "Wed, 30 Nov 2022 22:57:12 GMT"
    assert times.parse_rfc1123("Wed, 30 Nov 2022 22:57:12 GMT") == 1_669_849_032_000_000_000


@given(ALL_TICKS)
def test_iso_round_trip(ticks):
    """Every time that the service can have is written and read without loss."""
    moment = times.ticks_to_ns(ticks)

    assert times.ns_to_ticks(moment) == ticks
    assert times.parse_iso(times.format_iso(moment)) == moment


@given(ALL_TICKS)
def test_order_is_kept(ticks):
    """Written times sort as the times do."""
    moment = times.ticks_to_ns(ticks)
    later = times.ticks_to_ns(min(ticks + 1, 3_155_378_975_999_999_999))

    assert times.format_iso(moment) <= times.format_iso(later)


@given(ALL_TICKS)
def test_http_dates_round_trip_in_seconds(ticks):
    """An HTTP date keeps whole seconds."""
    moment = times.ticks_to_ns(ticks)
    if moment < -59_000_000_000 * times.NS_PER_SECOND:
        # The mail parser of the standard library takes years below 100 as of this century.
        return

    read = times.parse_rfc1123(times.format_rfc1123(moment))

    assert read == moment // times.NS_PER_SECOND * times.NS_PER_SECOND


@given(st.integers(-(10**19), 10**19))
def test_cutting_to_a_tick(moment):
    """A time is cut downwards to a multiple of 100 ns."""
    cut = times.floor_to_tick(moment)

    assert cut % 100 == 0
    assert 0 <= moment - cut < 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2022-11-30T22:57:12Z", 1_669_849_032_000_000_000),
        ("2022-11-30T22:57:12.5Z", 1_669_849_032_500_000_000),
        (" 2022-11-30T22:57:12.29099579Z ", 1_669_849_032_290_995_700),
        ("2022-11-30T22:57:12+00:00", 1_669_849_032_000_000_000),
    ],
)
def test_other_precisions(text, expected):
    """Fewer digits are taken as they are, more than seven are cut."""
    assert times.parse_iso(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2022-11-30",
        "2022-11-30T22:57:12",
        "2022-13-30T22:57:12Z",
        "2022-11-30T25:57:12Z",
        "2022-11-30T22:57:12+01:00",
        "٢٠٢٢-11-30T22:57:12x",
    ],
)
def test_what_is_no_iso_time(text):
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"."):
        times.parse_iso(text)


@pytest.mark.parametrize("text", ["", "yesterday", "Wed, 99 Nov 2022 22:57:12 GMT"])
def test_what_is_no_http_date(text):
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"date|day|range"):
        times.parse_rfc1123(text)


def test_a_date_without_a_zone_is_utc():
    """``-0000``, which names no zone, counts as UTC."""
    assert times.parse_rfc1123("Thu, 01 Jan 1970 00:00:01 -0000") == times.NS_PER_SECOND
