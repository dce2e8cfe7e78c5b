"""Symbolic links as Linux cifs stores them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azfilesfs.model.symlinks import (
    SYMLINK_FILE_BYTES,
    TARGET_BYTES,
    decode_symlink,
    encode_symlink,
)

targets = st.binary(min_size=1, max_size=TARGET_BYTES).filter(lambda target: b"\0" not in target)


def test_the_layout():
    """The file begins with a mark, the length and the MD5, and is padded with spaces."""
    content = encode_symlink(b"target")
    digest = hashlib.md5(b"target").hexdigest().encode()

    assert content == (b"XSym\n0006\n" + digest + b"\ntarget\n").ljust(1067)


@given(targets)
def test_round_trip(target):
    """Every target comes back, and every file has the same size."""
    content = encode_symlink(target)

    assert len(content) == SYMLINK_FILE_BYTES
    assert decode_symlink(content) == target


def test_the_longest_target():
    """A target of 1,024 bytes fills the file to its end."""
    content = encode_symlink(b"x" * TARGET_BYTES)

    assert content.endswith(b"x")
    assert decode_symlink(content) == b"x" * TARGET_BYTES


@pytest.mark.parametrize("target", [b"", b"x" * 1025, b"a\0b"])
def test_targets_that_do_not_fit(target):
    """Empty, long and NUL-containing targets are refused."""
    with pytest.raises(ValueError, match="link target"):
        encode_symlink(target)


def broken(position: int, replacement: bytes) -> bytes:
    """Return a link with some bytes replaced."""
    content = encode_symlink(b"target")
    return content[:position] + replacement + content[position + len(replacement) :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * SYMLINK_FILE_BYTES,
        encode_symlink(b"t")[:-1],
        encode_symlink(b"t") + b" ",
        broken(0, b"Y"),
        broken(5, b"000x"),
        broken(5, b"0000"),
        broken(5, b"2000"),
        broken(9, b" "),
        broken(10, b"0" * 32),
        broken(42, b" "),
        broken(43, b"\0"),
    ],
    ids=range(12),
)
def test_what_is_no_link(content):
    """A file that is not such a link in every detail is a plain file."""
    assert decode_symlink(content) is None


@given(st.binary(min_size=SYMLINK_FILE_BYTES, max_size=SYMLINK_FILE_BYTES))
def test_any_content_is_a_link_or_not(content):
    """No content of that size makes anything but a target or None."""
    assert decode_symlink(content) is None or content.startswith(b"XSym\n")
