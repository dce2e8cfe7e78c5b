"""One table per command says what can be set; flags, environment and file follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from azfilesfs.config import convert
from azfilesfs.errors import ConfigurationError

Converter = Callable[[str], Any]  # what it makes is checked where the frozen configuration is built


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting.

    Attributes:
        name: as a flag without its dashes, and as a key of the file: ``attr-ttl``.
        help: one sentence without a full stop.
        group: the heading that it stands under.
        convert: makes the value of a text, or raises ``ValueError``.
        default: as a text, None for no value.
        choices: the texts that are accepted, empty for any.
        metavar: what the value is called in the manual.
        switch: a flag without a value.
        variable: the environment variable; empty where there is none.
    """

    name: str
    help: str
    group: str
    convert: Converter = convert.text
    default: str | None = None
    choices: tuple[str, ...] = ()
    metavar: str = ""
    switch: bool = False
    variable: str = ""

    @property
    def key(self) -> str:
        """The name as an attribute."""
        return self.name.replace("-", "_")

    def value(self, given: str, where: str) -> object:
        """Convert a text that stood at ``where``.

        Raises:
            ConfigurationError: it is not such a value; the line names where it stood.
        """
        if self.choices and given not in self.choices:
            raise ConfigurationError(f"{where}: must be one of {', '.join(self.choices)}")
        try:
            return self.convert(given)
        except ValueError as error:
            raise ConfigurationError(f"{where}: {error}") from None


def option(name: str, group: str, text: str, **settings: Any) -> Option:  # noqa: ANN401  # fields of Option, each of its own type
    """Make an option whose environment variable follows from its name."""
    variable = "AZFILESFS_" + name.replace("-", "_").upper()
    return Option(**{"name": name, "group": group, "help": text, "variable": variable} | settings)


def switch(name: str, group: str, text: str) -> Option:
    """Make a switch that is off by default."""
    return option(name, group, text, convert=convert.boolean, default="false", switch=True)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where settings come from, the strongest first.

    Attributes:
        flags: by ``Option.key``, texts; a switch that was given is ``true``.
        environment: all variables of the process.
        file: by option name, texts.
        file_name: what messages call the file.
    """

    flags: Mapping[str, str]
    environment: Mapping[str, str]
    file: Mapping[str, str]
    file_name: str = "the configuration file"

    def is_set(self, wanted: Option) -> bool:
        """Tell whether somebody has set an option, be it to its default."""
        return self._given(wanted) is not None

    def text(self, wanted: Option) -> tuple[str, str] | None:
        """Return an option's text and where it stood; None where it is not set at all."""
        if (given := self._given(wanted)) is not None:
            return given
        if wanted.default is not None:
            return wanted.default, f"the default of --{wanted.name}"
        return None

    def _given(self, wanted: Option) -> tuple[str, str] | None:
        if (given := self.flags.get(wanted.key)) is not None:
            return given, f"--{wanted.name}"
        # As with every such variable, an empty one is one that is not set.
        if wanted.variable and (given := self.environment.get(wanted.variable)):
            return given, wanted.variable
        if (given := self.file.get(wanted.name)) is not None:
            return given, f"{wanted.name} in {self.file_name}"
        return None

    def values(self, table: tuple[Option, ...]) -> dict[str, Any]:
        """Return the value of every option of a table by its key, None where it is not set.

        Raises:
            ConfigurationError: a text is not such a value, or the file sets what there is not.
        """
        unknown = set(self.file) - {known.name for known in table}
        if unknown:
            raise ConfigurationError(f"{self.file_name}: there is no option {min(unknown)!r}")
        found = {known.key: self.text(known) for known in table}
        return {
            known.key: known.value(*text) if (text := found[known.key]) is not None else None
            for known in table
        }
