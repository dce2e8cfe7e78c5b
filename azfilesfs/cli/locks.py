"""``azfilesfs locks``: who holds which lock, and breaking it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from azfilesfs.cli.locks_output import as_json, held_by, table
from azfilesfs.cli.parsing import SubParsers
from azfilesfs.cli.places import Place, add_connection, place_named, share_path, sources_of
from azfilesfs.cli.recover_output import printable
from azfilesfs.config.directories import base_directories
from azfilesfs.config.exit_codes import CommandFailed, ExitCode

if TYPE_CHECKING:
    from azfilesfs.daemon.lock_breaking import Broken, Holders
    from azfilesfs.daemon.locks import ShareLocks

_DESCRIPTION = """\
Show who holds locks on the files of a share, on this host and on others, and break them. Mounts of
this host are asked directly; others tell of their locks at the service, every 15 seconds or so.
"""

_EPILOG = """\
examples:
  azfilesfs locks list                          of all shares mounted on this host
  azfilesfs locks list /mnt/share               of one of them
  azfilesfs locks list --share projects --json  of a share that need not be mounted here
  azfilesfs locks break /mnt/share/app.db

Exit statuses: 0 done, 1 something could not be found out or done, 2 not confirmed on a terminal and
no --yes, 4 no such file or share, 13 live readers keep the file; all others as in
docs/reference/exit-codes.md.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "locks",
        help="who holds which lock, and breaking it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_list(actions)
    _add_break(actions)


def _add_list(actions: SubParsers) -> None:
    text = "list the locks of a share"
    parser: argparse.ArgumentParser = actions.add_parser("list", help=text, description=text + ".")
    parser.add_argument(
        "mountpoint",
        metavar="MOUNTPOINT",
        nargs="?",
        help="a mount, or a path on it (default: every mount of this host)",
    )
    parser.add_argument("--share", metavar="SHARE", help="a share instead of a mount")
    parser.add_argument("--json", action="store_true", help="write JSON")
    add_connection(parser)
    parser.set_defaults(run=run, work=_list)


def _add_break(actions: SubParsers) -> None:
    text = "break the locks on a file, whoever holds them"
    parser: argparse.ArgumentParser = actions.add_parser("break", help=text, description=text + ".")
    parser.add_argument("path", metavar="PATH", help="a file on a mount; with --share one in it")
    parser.add_argument("--share", metavar="SHARE", help="the share that PATH is in")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--end-sessions",
        action="store_true",
        help="also end the sessions of live readers: their mounts lose all the locks they hold",
    )
    add_connection(parser)
    parser.set_defaults(run=run, work=_break)


def run(arguments: argparse.Namespace) -> int:
    """Do one of the actions."""
    code: int = arguments.work(arguments)
    return code


# -- list ------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    found: list[ShareLocks] = []
    is_complete = True
    for place in _places(arguments):
        locks = _locks_of(place, arguments)
        for warning in locks.warnings:
            _warn(warning)
            is_complete = False
        if locks.omitted:
            _warn(f"{locks.omitted} more locks on {place.share} are held than could be told")
        found.append(locks)
    text = as_json(found, time.time_ns()) if arguments.json else table(found, time.time_ns())
    if text:
        print(text)
    return int(ExitCode.OK if is_complete else ExitCode.FAILED)


def _places(arguments: argparse.Namespace) -> list[Place]:
    if arguments.share is not None and arguments.mountpoint is not None:
        raise CommandFailed(ExitCode.USAGE, "give a MOUNTPOINT or --share, not both")
    if arguments.share is not None or arguments.mountpoint is not None:
        return [place_named(arguments.share, arguments.mountpoint)]

    from azfilesfs.daemon.mounts import running_mounts

    records = running_mounts(base_directories(os.environ, os.getuid()).runtime)
    shares = {
        (record.endpoint, record.share): Place(
            record.share, "", record.endpoint, record.credentials
        )
        for record in records
    }
    return list(shares.values())


def _locks_of(place: Place, arguments: argparse.Namespace) -> ShareLocks:
    from azfilesfs.daemon.locks import locks_of

    runtime = base_directories(os.environ, os.getuid()).runtime
    return locks_of(place.share, sources_of(place, arguments), place.endpoint, runtime)


# -- break -----------------------------------------------------------------------------------------


def _break(arguments: argparse.Namespace) -> int:
    place = place_named(arguments.share, arguments.path)
    if not place.path:
        raise CommandFailed(ExitCode.USAGE, f"{arguments.path} is a whole share or mount: no file")
    path = share_path(place.path)

    from azfilesfs.daemon.locks import BreakOrder, break_locks

    order = BreakOrder(place.share, path, place.endpoint, arguments.end_sessions)

    def confirmed(held: Holders) -> bool:
        return _ask(place, held, end_sessions=arguments.end_sessions, yes=arguments.yes)

    return _say(place, break_locks(sources_of(place, arguments), order, confirmed))


def _ask(place: Place, held: Holders, *, end_sessions: bool, yes: bool) -> bool:
    """Show who holds the file, and ask; True where it is to be done."""
    print("\n".join(held_by(held)))
    sys.stdout.flush()
    if held.is_free or yes:
        return True
    if not sys.stdin.isatty():
        raise CommandFailed(
            ExitCode.USAGE, f"{place} is locked; breaking it needs --yes without a terminal"
        )
    what = "Break these locks"
    if end_sessions and held.live_readers():
        what += " and end the readers' sessions"
    print(f"{what}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _say(place: Place, done: Broken | None) -> int:
    if done is None:
        raise CommandFailed(ExitCode.FAILED, f"the locks on {place} were not broken")
    for line in done.lines:
        print(printable(line))
    if done.remaining:
        raise CommandFailed(
            ExitCode.LEASED,
            f"{done.remaining} live reader(s) keep the shared lock: stop them, or give "
            "--end-sessions, which takes all locks of their mounts",
        )
    return int(ExitCode.OK)


def _warn(text: str) -> None:
    print(f"azfilesfs: {printable(text)}", file=sys.stderr)
