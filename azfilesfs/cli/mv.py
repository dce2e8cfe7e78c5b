"""``azfilesfs mv``: rename at the service, where a mount cannot be asked to."""

from __future__ import annotations

import argparse

from azfilesfs.cli.parsing import SubParsers
from azfilesfs.cli.places import Place, add_connection, place_on_mount, sources_of
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import split_share

_DESCRIPTION = """\
Rename a file or directory of a share in one step at the service. Unlike a rename on a mount this
can change nothing but the case of a name, which the kernel never tells a mount about. Both paths
are either SHARE/PATH or paths on a mount; nothing is replaced unless --replace is given.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "mv", help="rename at the service, the case of a name too", description=_DESCRIPTION
    )
    parser.add_argument("source", metavar="SOURCE", help="SHARE/PATH or a path on a mount")
    parser.add_argument("destination", metavar="DESTINATION", help="the same for the new name")
    parser.add_argument("--replace", action="store_true", help="replace a file of that name")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rename."""
    source, destination = _place(arguments.source), _place(arguments.destination)
    if (source.share, source.endpoint) != (destination.share, destination.endpoint):
        raise CommandFailed(ExitCode.USAGE, "both paths must be in the same share")
    sources = sources_of(source, arguments)

    from azfilesfs.daemon.rename import rename

    rename(
        sources,
        source.share,
        source.path,
        destination.path,
        replace=arguments.replace,
        endpoint=source.endpoint,
    )
    return int(ExitCode.OK)


def _place(text: str) -> Place:
    """Find out what a path means: on a mount if it lies in one, else in a share."""
    found = place_on_mount(text)
    if found is None:
        if text.startswith(("/", "./", "../")):
            raise CommandFailed(ExitCode.USAGE, f"{text} is not on a mount of azfilesfs")
        found = Place(*split_share(text))
    if not found.path:
        raise CommandFailed(ExitCode.USAGE, f"{text} is a whole share or mount, which has no name")
    return found
