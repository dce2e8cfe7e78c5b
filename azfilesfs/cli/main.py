"""The ``azfilesfs`` command: parse, run, turn every failure into one line and an exit status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from azfilesfs import __version__
from azfilesfs.cli import emulator, lease, locks, mount, mv, recover, umount
from azfilesfs.cli.parsing import Parser
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.errors import AzureFilesError, ConfigurationError

COMMANDS = (mount, umount, mv, recover, locks, lease, emulator)
NOT_YET = ("record", "replay")

_EPILOG = """\
Credentials come from flags that name files, or from the environment as the Azure CLI has it:
AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or
AZURE_STORAGE_SAS_TOKEN. 'azfilesfs COMMAND --help' says more about each command.
"""


def build_parser() -> Parser:
    """Return the parser of the whole command."""
    parser = Parser(
        prog="azfilesfs",
        description="Mount Azure Files shares over HTTPS as local directories.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"azfilesfs {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    version = subparsers.add_parser("version", help="print the version")
    version.set_defaults(run=_print_version)
    return parser


def _print_version(arguments: argparse.Namespace) -> int:
    print(f"azfilesfs {__version__}")
    return int(ExitCode.OK)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. No traceback reaches the user."""
    # Nothing is logged before a command says where to.
    logging.getLogger("azfilesfs").addHandler(logging.NullHandler())
    words = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: _run(words), "azfilesfs")


def _run(words: list[str]) -> int:
    if words and words[0] in NOT_YET:
        raise CommandFailed(ExitCode.USAGE, f"'azfilesfs {words[0]}' is not yet available")
    parsed = build_parser().parse(words)
    code = parsed.run(parsed)
    sys.stdout.flush()
    return int(code)


def guarded(work: Callable[[], int], name: str) -> int:
    """Do the work of a command; whatever goes wrong becomes one line on standard error."""
    try:
        return work()
    except CommandFailed as failure:
        return _say(name, str(failure), failure.code)
    except ConfigurationError as failure:
        return _say(name, str(failure), ExitCode.USAGE)
    except AzureFilesError as failure:
        return _say(name, str(failure), ExitCode.FAILED)
    except KeyboardInterrupt:
        return _say(name, "interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has had enough. Python would complain again while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)
    except Exception as failure:  # noqa: BLE001  # no traceback reaches a user
        return _say(name, f"internal error: {type(failure).__name__}: {failure}", ExitCode.INTERNAL)


def _say(name: str, message: str, code: ExitCode) -> int:
    line = " ".join(message.split())
    print(f"{name}: {line}", file=sys.stderr)
    return int(code)
