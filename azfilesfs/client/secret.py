"""Values that must never be printed, and the redaction of texts that may contain them."""

from __future__ import annotations

import re
from typing import Final, final

REDACTED: Final = "REDACTED"
_SIGNATURE = re.compile(
    r"(?i)((?:^|[^a-z0-9]|%26|%3f)(?:sig|sharedaccesssignature|accountkey|password))"
    r"(=|%3d)[^&;\s\"'<>]+"
)
_AUTHORIZATION = re.compile(r"(?i)\b(SharedKey(?:Lite)?\s+[^:\s]+:|Bearer\s+)\S+")


@final
class Secret:
    """A text that shows itself only through ``reveal``.

    It is equal to another of the same text and hashable, so that a changed key can be told from an
    unchanged one.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for signing or sending; never for a message."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


def redact(text: str) -> str:
    """Return a text in which signatures, keys and authorizations are replaced.

    It knows SAS signatures (also inside percent-encoded URLs of the copy-source and rename-source
    headers), connection strings and Authorization values. It is a net under the rule that secrets
    are not put into texts at all.
    """
    return _AUTHORIZATION.sub(rf"\1{REDACTED}", _SIGNATURE.sub(rf"\1\2{REDACTED}", text))
