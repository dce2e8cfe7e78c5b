"""Paths inside a share, as the service spells them (rest.md section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar
from urllib.parse import quote

from azfilesfs.errors import InvalidPath, InvalidShareName, NameTooLong
from azfilesfs.model.limits import COMPONENT_UNITS, PATH_DEPTH, PATH_UNITS

FORBIDDEN_CHARACTERS = frozenset('"\\/:|<>*?') | {chr(code) for code in range(0x20)}
DEVICE_NAMES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CLOCK$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in range(1, 10)}
)
_SHARE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def utf16_units(text: str) -> int:
    """Count UTF-16 code units, the unit of the service's length limits."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for character in text if ord(character) > 0xFFFF)


def fold(name: str) -> str:
    """Return the key under which the service compares names: upper case, character by character.

    Mappings that change the length (``ß``) or end in ASCII from outside it (``ı``, ``ſ``) do not
    take part, as in the upper-case tables of Windows file systems.
    """
    if name.isascii():
        return name.upper()
    return "".join(_fold_character(character) for character in name)


def name_key(name: str) -> str:
    """Return a key that is equal for names that the service takes for one.

    For most names it is the name itself, the same object: a table of many names needs no second
    copy of each.
    """
    if name.isascii():
        lower = name.lower()
        return name if lower == name else lower
    return fold(name)


def _fold_character(character: str) -> str:
    upper = character.upper()
    if len(upper) != 1 or (upper.isascii() and not character.isascii()):
        return character
    return upper


@lru_cache(maxsize=1024)
def check_name(name: str) -> None:
    """Check one component of a path; good ones are remembered, for each is checked several times.

    Raises:
        NameTooLong: more than 255 UTF-16 units.
        InvalidPath: empty, ``.`` or ``..``, a device name, a forbidden character or a lone
            surrogate.
    """
    if not name or name in {".", ".."}:
        raise InvalidPath("a name must not be empty, '.' or '..'")
    if utf16_units(name) > COMPONENT_UNITS:
        raise NameTooLong(f"a name must not exceed {COMPONENT_UNITS} characters")
    if not FORBIDDEN_CHARACTERS.isdisjoint(name):
        raise InvalidPath(f"{name!r} contains a character that the service forbids")
    if not name.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        raise InvalidPath("a name must not contain a lone surrogate")
    if name.upper() in DEVICE_NAMES:
        raise InvalidPath(f"{name!r} is a device name, which the service forbids")


def check_share_name(name: str) -> None:
    """Check a share name: 3 to 63 lower-case letters, digits and single dashes.

    Raises:
        InvalidShareName: it is not of that form.
    """
    if (
        not 3 <= len(name) <= 63
        or not _SHARE_CHARACTERS.issuperset(name)
        or name[0] == "-"
        or name[-1] == "-"
        or "--" in name
    ):
        raise InvalidShareName(
            f"{name!r} is not a share name: 3 to 63 lower-case letters, digits and single dashes"
        )


@dataclass(frozen=True, slots=True)
class SharePath:
    """A path from the root of a share.

    The empty tuple is the root. Components are service names.
    """

    components: tuple[str, ...] = ()

    ROOT: ClassVar[SharePath]

    @classmethod
    def parse(cls, text: str) -> SharePath:
        """Split ``a/b/c`` and check every component; slashes at the ends are dropped.

        Raises:
            InvalidPath: a component or the whole is refused.
        """
        path = cls(tuple(text.strip("/").split("/"))) if text.strip("/") else cls()
        path.check()
        return path

    def check(self) -> None:
        """Check every component, the length and the depth.

        Raises:
            InvalidPath: a component is refused, or the path is too long or too deep.
        """
        for name in self.components:
            check_name(name)
        if len(self.components) > PATH_DEPTH:
            raise NameTooLong(f"a path must not be deeper than {PATH_DEPTH}")
        if utf16_units(str(self)) > PATH_UNITS:
            raise NameTooLong(f"a path must not exceed {PATH_UNITS} characters")

    def child(self, name: str) -> SharePath:
        """Return the path of an entry of this directory."""
        return SharePath((*self.components, name))

    @property
    def parent(self) -> SharePath:
        """The directory that holds this entry; the root is its own parent."""
        return SharePath(self.components[:-1])

    @property
    def name(self) -> str:
        """The last component, empty for the root."""
        return self.components[-1] if self.components else ""

    @property
    def is_root(self) -> bool:
        """Whether this is the root of the share."""
        return not self.components

    def is_below(self, other: SharePath) -> bool:
        """Tell whether this is ``other`` or lies under it, by exact spelling."""
        return self.components[: len(other.components)] == other.components

    def encoded(self) -> str:
        """Return it percent-encoded for a URL, without a leading slash."""
        return "/".join([_encoded_name(name) for name in self.components])

    def __str__(self) -> str:
        return "/".join(self.components)


@lru_cache(maxsize=1024)
def _encoded_name(name: str) -> str:
    """Percent-encode a name; those of directories come again with each of their entries."""
    return quote(name, safe="~")


SharePath.ROOT = SharePath()
