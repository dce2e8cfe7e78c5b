"""XML as the service writes it: a byte order mark, one line; and the little that it reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote
from xml.etree import ElementTree

from azfilesfs.emulator.errors import ServiceError

DECLARATION = '\ufeff<?xml version="1.0" encoding="utf-8"?>'
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_NEEDS_ESCAPE = re.compile(r"[&<>]")
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DOCTYPE = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


def escape(text: str) -> str:
    """Escape text content."""
    return text.translate(_ESCAPES) if _NEEDS_ESCAPE.search(text) else text


def attribute(text: str) -> str:
    """Escape an attribute's value."""
    return escape(text).replace('"', "&quot;")


def element(name: str, text: str) -> str:
    """Return an element with text, in the short form where the text is empty."""
    return f"<{name}>{escape(text)}</{name}>" if text else f"<{name} />"


def name_element(tag: str, name: str, *, may_encode: bool = True) -> str:
    """Return an element with a name, percent-encoded where XML cannot carry it."""
    if may_encode and _ILLEGAL.search(name):
        return f'<{tag} Encoded="true">{quote(name, safe="")}</{tag}>'
    return element(tag, name)


def document(body: str) -> bytes:
    """Return a whole document in UTF-8."""
    return (DECLARATION + body).encode("utf-8", "surrogatepass")


def error_document(code: str, message: str, extras: Mapping[str, str]) -> bytes:
    """Return the body of a refusal."""
    rest = "".join(element(name, value) for name, value in extras.items())
    return document(f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{rest}</Error>")


def parse(body: bytes | bytearray | memoryview) -> ElementTree.Element:
    """Read the document in a request's body.

    Raises:
        ServiceError: InvalidXmlDocument.
    """
    data = bytes(body)
    # Entities are the one dangerous feature of XML here, and no request needs them.
    if _DOCTYPE.search(data):
        raise invalid_document()
    try:
        return ElementTree.fromstring(data)  # noqa: S314  # documents with entities are refused above
    except ElementTree.ParseError as error:
        line, position = error.position
        raise invalid_document(line, position) from None


def invalid_document(line: int = 0, position: int = 0) -> ServiceError:
    """Return the refusal of a request's XML."""
    extras = {"LineNumber": str(line), "LinePosition": str(position), "Reason": ""}
    return ServiceError("InvalidXmlDocument", extras=extras)
