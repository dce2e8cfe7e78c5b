"""The configuration file: TOML, a table for each command and one for each share."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from azfilesfs.errors import ConfigurationError

SYSTEM_FILE: Final = Path("/etc/azfilesfs/config.toml")
FILE_NAME: Final = "config.toml"


def find(given: str | None, config_home: Path) -> Path | None:
    """Return the file to read: the one named, else the user's, else the system's, else none.

    Raises:
        ConfigurationError: the one named does not exist.
    """
    if given is not None:
        named = Path(given).expanduser()
        if not named.is_file():
            raise ConfigurationError(f"the configuration file {named} does not exist")
        return named
    for candidate in (config_home / FILE_NAME, SYSTEM_FILE):
        if candidate.is_file():
            return candidate
    return None


def read(path: Path, command: str, share: str | None = None) -> dict[str, str]:
    """Return the settings of a command as texts by option name; a share's own table rules.

    Raises:
        ConfigurationError: the file cannot be read, is not TOML, or has another structure.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    unknown = set(document) - {"mount", "emulator", "share"}
    if unknown:
        raise ConfigurationError(f"{path}: there is no table [{min(unknown)}]")
    settings = _texts(path, document.get(command, {}))
    if share is not None:
        shares = document.get("share", {})
        if not isinstance(shares, dict):
            raise ConfigurationError(f"{path}: tables of shares are written [share.NAME]")
        settings |= _texts(path, shares.get(share, {}))
    return settings


def _texts(path: Path, table: object) -> dict[str, str]:
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{path}: expected a table of options")
    return {str(name): _text(path, str(name), value) for name, value in table.items()}


def _text(path: Path, name: str, value: Any) -> str:  # noqa: ANN401  # whatever TOML may hold
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigurationError(f"{path}: {name} must be a text, a number, true or false")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
