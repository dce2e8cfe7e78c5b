"""XML of the service: small documents as trees; document types and entities are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn
from urllib.parse import unquote
from xml.parsers import expat

from azfilesfs.errors import ProtocolError

_DEPTH: Final = 32


@dataclass(slots=True)
class Element:
    """An element: its name, attributes, text (without that of its children) and children."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, name: str) -> Element | None:
        """Return the first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> Iterator[Element]:
        """Yield the children of that name."""
        return (child for child in self.children if child.name == name)

    def text_of(self, name: str) -> str | None:
        """Return the text of the first child of that name, None where it is absent or empty."""
        child = self.find(name)
        return (child.text or None) if child is not None else None


def decoded_name(text: str, attributes: Mapping[str, str]) -> str:
    """Return a listed name, percent-decoded where the service says that it encoded it.

    Bytes that are not UTF-8 become lone surrogates, for the caller to judge.
    """
    if attributes.get("Encoded", "").lower() == "true":
        return unquote(text, errors="surrogateescape")
    return text


def new_parser(
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> expat.XMLParserType:
    """Return an expat parser with these handlers that refuses document types and entities."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    return parser


def feed(parser: expat.XMLParserType, data: bytes | memoryview, *, is_final: bool) -> None:
    """Give bytes to a parser.

    Raises:
        ProtocolError: they are not well-formed XML, or contain what is refused.
    """
    try:
        parser.Parse(bytes(data), is_final)
    except expat.ExpatError as error:
        raise ProtocolError(f"the answer is not well-formed XML: {error}") from error
    except (LookupError, ValueError) as error:
        raise ProtocolError("the answer's XML names an unknown encoding") from error


def _refuse(*_: object) -> NoReturn:
    raise ProtocolError("the answer's XML has a document type, which the service never sends")


def parse_document(data: bytes) -> Element:
    """Read a small document into a tree; a byte order mark at its start is skipped.

    Raises:
        ProtocolError: it is not well-formed, has a document type, or is nested deeper than any
            answer of the service.
    """
    root = Element("")
    stack = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > _DEPTH:
            raise ProtocolError("the answer's XML is nested too deeply")
        element = Element(name, attributes)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_name: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    feed(new_parser(start, end, text), data, is_final=True)
    return root.children[0]
