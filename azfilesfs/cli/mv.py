"""``azfilesfs mv``: rename at the service, where a mount cannot be asked to."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from azfilesfs.cli.parsing import SubParsers, add_options, given, refuse
from azfilesfs.config.directories import base_directories
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import credential_sources, load_file, split_share
from azfilesfs.config.mount_options import CREDENTIAL_OPTIONS, REFUSED_SECRETS

_DESCRIPTION = """\
Rename a file or directory of a share in one step at the service. Unlike a rename on a mount this
can change nothing but the case of a name, which the kernel never tells a mount about. Both paths
are either SHARE/PATH or paths on a mount; nothing is replaced unless --replace is given.
"""


@dataclass(frozen=True, slots=True)
class _Place:
    """A path in a share, names spelled as on a mount, and the flags of the mount it is on."""

    share: str
    path: str
    endpoint: str | None
    flags: dict[str, str]


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "mv", help="rename at the service, the case of a name too", description=_DESCRIPTION
    )
    parser.add_argument("source", metavar="SOURCE", help="SHARE/PATH or a path on a mount")
    parser.add_argument("destination", metavar="DESTINATION", help="the same for the new name")
    parser.add_argument("--replace", action="store_true", help="replace a file of that name")
    parser.add_argument("--config", metavar="FILE", help="configuration file, as for mount")
    add_options(parser, CREDENTIAL_OPTIONS)
    for flag, instead in REFUSED_SECRETS.items():
        refuse(parser, flag, f"--{flag} would show a secret to every user: use --{instead} FILE")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rename."""
    source, destination = _place(arguments.source), _place(arguments.destination)
    if (source.share, source.endpoint) != (destination.share, destination.endpoint):
        raise CommandFailed(ExitCode.USAGE, "both paths must be in the same share")
    flags = source.flags | given(arguments, CREDENTIAL_OPTIONS)
    if arguments.config is not None:
        flags["config"] = arguments.config
    file, name = load_file(flags, os.environ, "mount", source.share)
    sources = credential_sources(flags, os.environ, file, name)

    from azfilesfs.daemon.rename import rename

    rename(sources, source.share, source.path, destination.path, replace=arguments.replace)
    return int(ExitCode.OK)


def _place(text: str) -> _Place:
    """Find out what a path means: on a mount if it lies in one, else in a share."""
    from azfilesfs.daemon.mounts import locate

    found = locate(Path(text), base_directories(os.environ, os.getuid()).runtime)
    if found is not None:
        record, below = found
        path = "/".join(part for part in (record.directory, below) if part and part != ".")
        return _Place(record.share, _not_empty(path, text), record.endpoint, record.credentials)
    if text.startswith(("/", "./", "../")):
        raise CommandFailed(ExitCode.USAGE, f"{text} is not on a mount of azfilesfs")
    share, path = split_share(text)
    return _Place(share, _not_empty(path, text), None, {})


def _not_empty(path: str, text: str) -> str:
    if not path:
        raise CommandFailed(ExitCode.USAGE, f"{text} is a whole share or mount, which has no name")
    return path
