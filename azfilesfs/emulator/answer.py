"""What an operation answers, before faults, counting and HTTP framing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.xml import document, error_document


class BodySource(Protocol):
    """A body that is read piece by piece while it is sent."""

    @property
    def length(self) -> int:
        """Number of bytes."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes in order."""
        ...


@dataclass(slots=True)
class Answer:
    """Status, headers and body.

    Attributes:
        headers: beyond the common ones, in order.
        body: bytes, or a source of them; empty for none.
        content_length: what the header says; None sends none, so that HTTP/1.1 uses chunks.
        error_code: ``x-ms-error-code`` of a refusal.
        has_version: whether ``x-ms-version`` is echoed.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | BodySource = b""
    content_length: int | None = 0
    error_code: str | None = None
    has_version: bool = True

    @property
    def body_length(self) -> int:
        """Number of bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length


def xml_answer(body: str, headers: list[tuple[str, str]] | None = None) -> Answer:
    """Return a 200 with a document, in chunks as the service sends it."""
    fields = [("content-type", "application/xml"), *(headers or ())]
    return Answer(200, fields, document(body), content_length=None)


def refusal(error: ServiceError, *, is_head: bool, facts: str) -> Answer:
    """Return the answer of a refused request.

    Args:
        error: why.
        is_head: no body then, and no length.
        facts: request id and time, as the service appends them to the message.
    """
    headers = [("x-ms-error-code", error.code), *error.headers.items()]
    if is_head:
        return Answer(error.status, headers, content_length=None, error_code=error.code)
    body = error_document(error.code, f"{error.message}\n{facts}", error.extras)
    headers.append(("content-type", "application/xml"))
    return Answer(error.status, headers, body, len(body), error_code=error.code)
