"""Symbolic links in the form that Linux cifs calls ``mfsymlinks``: a file of exactly 1,067 bytes.

Layout: ``XSym\\n``, the length of the target as four decimal digits and a newline, the MD5 of the
target in lower-case hex and a
newline, the target, a newline, and spaces up to the full size.
"""

from __future__ import annotations

import hashlib
from typing import Final

SYMLINK_FILE_BYTES: Final = 1067
TARGET_BYTES: Final = 1024
_HEADER_BYTES: Final = 43


def encode_symlink(target: bytes) -> bytes:
    """Return the content of the file that stands for a link to ``target``.

    Raises:
        ValueError: the target is empty, longer than 1,024 bytes or contains NUL.
    """
    if not 0 < len(target) <= TARGET_BYTES or b"\0" in target:
        raise ValueError("a link target has 1 to 1,024 bytes and no NUL")
    digest = hashlib.md5(target, usedforsecurity=False).hexdigest()
    head = b"XSym\n%04d\n%s\n" % (len(target), digest.encode())
    body = head + target
    if len(target) < TARGET_BYTES:
        body += b"\n"
    return body.ljust(SYMLINK_FILE_BYTES, b" ")


def decode_symlink(content: bytes) -> bytes | None:
    """Return the target, None where the content is not such a file."""
    if len(content) != SYMLINK_FILE_BYTES or not content.startswith(b"XSym\n"):
        return None
    digits, digest = content[5:9], content[10:42]
    if not digits.isdigit() or content[9:10] != b"\n" or content[42:43] != b"\n":
        return None
    length = int(digits)
    target = content[_HEADER_BYTES : _HEADER_BYTES + length]
    if not 0 < length <= TARGET_BYTES or b"\0" in target:
        return None
    expected = hashlib.md5(target, usedforsecurity=False).hexdigest().encode()
    return target if digest == expected else None
