"""Argument parsing whose errors are one line, and flags made from the tables of ``config``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.options import Option

SubParsers = Any  # argparse keeps the type of its subparsers to itself


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage, and never completes abbreviated flags."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  # passed on to argparse, each of its own type
        """Pass everything on."""
        # An abbreviation would make --key mean --key-file.
        super().__init__(**{"allow_abbrev": False} | settings)

    def error(self, message: str) -> NoReturn:
        """Fail with one line.

        Raises:
            CommandFailed: always.
        """
        raise CommandFailed(ExitCode.USAGE, f"{message} (see '{self.prog} --help')")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line.

        Raises:
            CommandFailed: it is wrong; of unknown arguments only the names of flags are shown,
            since what follows them
                may be a secret.
        """
        namespace, unknown = self.parse_known_args(arguments)
        if unknown:
            flags = [text.partition("=")[0] for text in unknown if text.startswith("-")]
            shown = " ".join(flags) if flags else "too many arguments"
            self.error(f"unknown: {shown}" if flags else shown)
        return namespace


class _Refuse(argparse.Action):
    """A flag that is understood, and refused with a reason."""

    def __init__(self, reason: str, **settings: Any) -> None:  # noqa: ANN401  # passed on to argparse, each of its own type
        super().__init__(nargs="?", help=argparse.SUPPRESS, **settings)
        self.reason = reason

    def __call__(self, *_: object, **__: object) -> None:
        """Refuse."""
        raise CommandFailed(ExitCode.USAGE, self.reason)


def refuse(parser: argparse.ArgumentParser, flag: str, reason: str) -> None:
    """Make a parser refuse a flag with a reason; a value that follows is never shown."""
    parser.add_argument(f"--{flag}", action=_Refuse, reason=reason, dest=argparse.SUPPRESS)


def add_options(parser: argparse.ArgumentParser, table: Iterable[Option]) -> None:
    """Add a flag for each option, under the headings of the table."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in table:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        _add_option(groups[option.group], option)


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    text = option.help
    if option.switch:
        group.add_argument(
            f"--{option.name}", dest=option.key, action="store_const", const="true", help=text
        )
        return
    if option.default is not None:
        text += f" (default: {option.default})"
    metavar = option.metavar or "{" + ",".join(option.choices) + "}"
    group.add_argument(f"--{option.name}", dest=option.key, metavar=metavar, help=text)


def given(arguments: argparse.Namespace, table: Iterable[Option]) -> dict[str, str]:
    """Return the options that stood on the command line, as texts."""
    found = {option.key: getattr(arguments, option.key, None) for option in table}
    return {key: text for key, text in found.items() if text is not None}
