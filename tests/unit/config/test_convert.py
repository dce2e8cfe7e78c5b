"""Texts of flags, environment and files become values."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.config import convert
from azfilesfs.config.convert import HostPort


@pytest.mark.parametrize(
    ("converter", "text", "value"),
    [
        (convert.size, "0", 0),
        (convert.size, "512", 512),
        (convert.size, "64K", 65536),
        (convert.size, "1.5 GiB", 3 * 2**29),
        (convert.size, "2tb", 2**41),
        (convert.duration, "0", 0.0),
        (convert.duration, "1.5", 1.5),
        (convert.duration, "250ms", 0.25),
        (convert.duration, "2m", 120.0),
        (convert.duration, "1 h", 3600.0),
        (convert.mode, "644", 0o644),
        (convert.mode, "0755", 0o755),
        (convert.mode, "0o700", 0o700),
        (convert.boolean, "Yes", True),
        (convert.boolean, "0", False),
        (convert.count, "32", 32),
        (convert.bandwidth, "256K", 2**18),
        (convert.user, "1000", 1000),
        (convert.user, "root", 0),
        (convert.group, "root", 0),
        (convert.group, "7", 7),
        (convert.host_port, "127.0.0.1:0", HostPort("127.0.0.1", 0)),
        (convert.host_port, "[::1]:9100", HostPort("::1", 9100)),
        (convert.path, "/a/../b", Path("/b")),
        (convert.text, "x", "x"),
        (convert.base64_text, "AAEC/+8=", "AAEC/+8="),
    ],
)
def test_values(converter, text, value):
    """What people write is understood."""
    assert converter(text) == value


@pytest.mark.parametrize(
    ("converter", "text"),
    [
        *((convert.size, text) for text in ("", "-1", "x", "1X", "1 2")),
        *((convert.positive_size, text) for text in ("0", "0K")),
        *((convert.bandwidth, text) for text in ("", "0", "255K", "-1M")),
        *((convert.duration, text) for text in ("", "-1", "soon", "1d")),
        *((convert.positive_duration, text) for text in ("0", "0ms")),
        *((convert.mode, text) for text in ("", "888", "rwx", "77777", "-1")),
        *((convert.boolean, text) for text in ("", "maybe", "2")),
        *((convert.count, text) for text in ("", "0", "-1", "1.5")),
        *((convert.user, text) for text in ("", "no such user", "4294967295")),
        *((convert.group, text) for text in ("", "no such group", "99999999999")),
        *((convert.host_port, text) for text in ("", "host", ":80", "host:x", "host:99999")),
        (convert.path, ""),
        (convert.text, ""),
        *((convert.base64_text, text) for text in ("", "zz", "zz===", "AA==AA", "ä===")),
    ],
)
def test_refusals(converter, text):
    """What cannot be meant is refused with what was wanted."""
    with pytest.raises(ValueError, match=r"must|there is no"):
        converter(text)


def test_home_is_known(monkeypatch):
    """A tilde is the home directory, and relative paths start where the command does."""
    monkeypatch.setenv("HOME", "/home/somebody")

    assert convert.path("~/x") == Path("/home/somebody/x")
    assert convert.path("x") == Path(os.getcwd()) / "x"


@given(st.integers(0, 2**50))
def test_plain_numbers_are_bytes(number):
    """A size without a unit is its number of bytes."""
    assert convert.size(str(number)) == number
