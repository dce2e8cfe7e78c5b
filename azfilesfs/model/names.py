"""Local names (Linux, bytes) to service names (str) and back, without loss.

What the service forbids is moved into the private use area, to the code points that Linux cifs uses
under ``mapposix``, so that
a share shows the same names through either mount: control characters to U+F001..U+F01F, ``" * : < >
? \\ |`` to U+F020..U+F027, a
trailing space to U+F028 and a trailing period to U+F029.

To stay reversible a local name must not contain those code points itself, except U+F028 and U+F029
before its end.
"""

from __future__ import annotations

from azfilesfs.errors import InvalidPath
from azfilesfs.model.paths import check_name

_ENCODE = {chr(code): chr(0xF000 + code) for code in range(1, 0x20)} | {
    '"': "\uf020",
    "*": "\uf021",
    ":": "\uf022",
    "<": "\uf023",
    ">": "\uf024",
    "?": "\uf025",
    "\\": "\uf026",
    "|": "\uf027",
}
_ENCODE_LAST = {" ": "\uf028", ".": "\uf029"}
_DECODE = {mapped: plain for plain, mapped in _ENCODE.items()}
_DECODE_LAST = {mapped: plain for plain, mapped in _ENCODE_LAST.items()}
_ENCODE_TABLE = str.maketrans(_ENCODE)
_DECODE_TABLE = str.maketrans(_DECODE)


class InvalidEncoding(InvalidPath):
    """A local name is not UTF-8."""


def to_service(name: bytes) -> str:
    """Spell a local name for the service.

    Raises:
        InvalidEncoding: the bytes are not UTF-8.
        NameTooLong: the name exceeds 255 UTF-16 units.
        InvalidPath: a device name, or a code point that stands for another character.
    """
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidEncoding(f"the name {name!r} is not UTF-8") from None
    if not _DECODE.keys().isdisjoint(text) or text[-1:] in _DECODE_LAST:
        raise InvalidPath(f"{text!r} contains a code point that stands for a forbidden character")
    if text in {".", ".."}:
        raise InvalidPath("a name must not be '.' or '..'")
    mapped = text.translate(_ENCODE_TABLE)
    mapped = mapped[:-1] + _ENCODE_LAST.get(mapped[-1:], mapped[-1:])
    check_name(mapped)
    return mapped


def to_local(name: str) -> bytes:
    """Spell a service name for Linux.

    A name that other clients created with a literal trailing space or period shows as it is;
    ``literal`` finds it again.

    Raises:
        InvalidPath: the name cannot be shown: empty, ``.``, ``..``, with ``/`` or NUL, or not
            encodable as UTF-8.
    """
    plain = name
    if not name.isascii():
        plain = name.translate(_DECODE_TABLE)
        plain = plain[:-1] + _DECODE_LAST.get(plain[-1:], plain[-1:])
    if plain in {"", ".", ".."} or "/" in name or "\0" in name:
        raise InvalidPath(f"the service lists a name that cannot be shown: {name!r}")
    try:
        return plain.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidPath(f"the service lists a name that is not Unicode: {name!r}") from None


def literal(name: bytes) -> str | None:
    """Return the service name that other clients may have given an entry shown as ``name``.

    None where there is no second spelling: only a trailing space or period has one.
    """
    mapped = to_service(name)
    plain = _DECODE_LAST.get(mapped[-1:])
    return mapped[:-1] + plain if plain is not None else None
