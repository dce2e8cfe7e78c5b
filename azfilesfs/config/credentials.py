"""Where credentials come from. They are read anew each time, so that a changed file takes effect.

A secret never stands on a command line, where every user of the machine can read it: flags name
files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from azfilesfs.errors import ConfigurationError, MissingCredentials

VARIABLES: Final = {
    "AZURE_STORAGE_CONNECTION_STRING": "connection_string",
    "AZURE_STORAGE_ACCOUNT": "account",
    "AZURE_STORAGE_KEY": "key",
    "AZURE_STORAGE_SAS_TOKEN": "sas",
    "AZFILESFS_ENDPOINT": "endpoint",
    "AZFILESFS_CA_FILE": "ca_file",
}
"""The environment's names, those of the Azure CLI, which a credentials file has too."""

_FILE_BYTES: Final = 64 * 1024
_SECRETS: Final = ("connection_string", "key", "sas")


@dataclass(frozen=True, slots=True)
class CredentialTexts:
    """What was found, unchecked; secrets stay out of its repr.

    ``secret_from`` says where the secret stood, for messages.
    """

    connection_string: str | None = field(default=None, repr=False)
    account: str | None = None
    key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    ca_file: str | None = None
    secret_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFiles:
    """What flags, or the keys of the configuration file, say about credentials."""

    where: str
    connection_string_file: Path | None = None
    account: str | None = None
    key_file: Path | None = None
    sas_file: Path | None = None
    credentials_file: Path | None = None
    endpoint: str | None = None
    ca_file: str | None = None

    def load(self) -> CredentialTexts:
        """Read the files.

        Raises:
            MissingCredentials: one cannot be read or is empty, or they contradict each other.
        """
        found = _lines(self.credentials_file) if self.credentials_file else {}
        named = {
            "connection_string": self.connection_string_file,
            "key": self.key_file,
            "sas": self.sas_file,
        }
        found |= {name: _secret(path) for name, path in named.items() if path is not None}
        return _checked(found | self.plain(), self.where)

    def plain(self) -> dict[str, str]:
        """Return what is no secret and stands in no file."""
        fields = {"account": self.account, "endpoint": self.endpoint, "ca_file": self.ca_file}
        return {name: text for name, text in fields.items() if text is not None}

    def flags(self) -> dict[str, str]:
        """Return the flags that say the same; they name files and hold no secret."""
        paths = {
            "connection_string_file": self.connection_string_file,
            "key_file": self.key_file,
            "sas_file": self.sas_file,
            "credentials": self.credentials_file,
        }
        return self.plain() | {name: os.fspath(path) for name, path in paths.items() if path}


@dataclass(frozen=True, slots=True)
class CredentialEnvironment:
    """The environment's credentials."""

    variables: Mapping[str, str] = field(repr=False)

    def load(self) -> CredentialTexts:
        """Take the variables that are set.

        Raises:
            MissingCredentials: they contradict each other.
        """
        return _checked(self._found(), "the environment")

    def plain(self) -> dict[str, str]:
        """Return what is no secret."""
        return {name: text for name, text in self._found().items() if name not in _SECRETS}

    def _found(self) -> dict[str, str]:
        return {
            field: text for name, field in VARIABLES.items() if (text := self.variables.get(name))
        }


@dataclass(frozen=True, slots=True)
class CredentialSources:
    """All places, the strongest first."""

    levels: tuple[CredentialFiles | CredentialEnvironment, ...]

    def load(self) -> CredentialTexts:
        """Read all places; the strongest that has a secret gives it, other fields are found singly.

        Raises:
            MissingCredentials: there is no secret, or a place is contradictory or cannot be read.
        """
        merged: dict[str, str] = {}
        for number, level in enumerate(self.levels, start=1):
            found = level.load()
            merged = _present(found) | merged
            if found.secret_from:
                return CredentialTexts(**self._weaker(number, merged) | merged)
        raise MissingCredentials(
            "no credentials: give --connection-string-file, --account with --key-file or "
            "--sas-file, --credentials, or set AZURE_STORAGE_CONNECTION_STRING"
        )

    def _weaker(self, number: int, merged: dict[str, str]) -> dict[str, str]:
        """Return what names the service in places weaker than that of the secret."""
        names = (
            ("ca_file",) if "connection_string" in merged else ("account", "endpoint", "ca_file")
        )
        found: dict[str, str] = {}
        for level in self.levels[number:]:
            found = {n: t for n, t in level.plain().items() if n in names} | found
        return found


def _present(texts: CredentialTexts) -> dict[str, str]:
    names = (*_SECRETS, "account", "endpoint", "ca_file", "secret_from")
    return {name: text for name in names if (text := getattr(texts, name))}


def _checked(found: dict[str, str], where: str) -> CredentialTexts:
    secrets = [name for name in _SECRETS if name in found]
    if len(secrets) > 1:
        names = " and ".join(name.replace("_", " ") for name in secrets)
        raise MissingCredentials(f"{where}: give one of {names}, not both")
    return CredentialTexts(**found, secret_from=where if secrets else "")


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_FILE_BYTES)
    except OSError as error:
        raise MissingCredentials(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MissingCredentials(f"{path} is not a text file") from None


def _secret(path: Path) -> str:
    text = _read(path).strip()
    if not text or "\n" in text:
        raise MissingCredentials(f"{path} must hold one line with the secret")
    return text


def _lines(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, name, value in _assignments(_read(path)):
        if name not in VARIABLES:
            # The line itself may be a secret that was misplaced, so it is not quoted.
            known = ", ".join(VARIABLES)
            raise ConfigurationError(f"{path}, line {number}: expected NAME=value of {known}")
        if value:
            found[VARIABLES[name]] = value
    return found


def _assignments(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, _, value = stripped.partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield number, name.strip(), value
