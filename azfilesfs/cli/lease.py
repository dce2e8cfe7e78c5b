"""``azfilesfs lease``: leases on files and shares by hand."""

from __future__ import annotations

import argparse
import json
import uuid
from typing import TYPE_CHECKING

from azfilesfs.cli.parsing import SubParsers
from azfilesfs.cli.places import Place, add_connection, place_named, share_path, sources_of
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.model.limits import INFINITE_LEASE, SHARE_LEASE_SECONDS

if TYPE_CHECKING:
    from azfilesfs.daemon.leases import LeaseOutcome

_DESCRIPTION = """\
Take, renew, give up or break a lease of the service. A file's lease has no end; as long as it
stands, nobody can change, delete or rename the file without its id. A share's lease lasts 15 to 60
seconds or has no end, and keeps others from deleting the share and from setting its properties, not
from its files.
"""

_EPILOG = """\
examples:
  azfilesfs lease acquire /mnt/share/report.csv       prints the id of the lease
  azfilesfs lease release /mnt/share/report.csv --id ID
  azfilesfs lease acquire --share backup --duration 60
  azfilesfs lease renew --share backup --id ID
  azfilesfs lease break --share backup --break-period 10

Exit statuses: 0 done, 4 no such file, share or lease, 13 another lease is there; all others as in
docs/reference/exit-codes.md.
"""

_ACTIONS = {
    "acquire": "take a lease and print its id",
    "renew": "start the duration of a share's lease anew",
    "release": "give a lease up",
    "break": "end a lease, whoever holds it",
}


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "lease",
        help="leases on files and shares by hand",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text in _ACTIONS.items():
        _add_action(actions, name, text)


def _add_action(actions: SubParsers, name: str, text: str) -> None:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text + ".")
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="a file on a mount, or a mount of a whole share for the share; "
        "with --share a file in it",
    )
    parser.add_argument("--share", metavar="SHARE", help="the share, or the one that PATH is in")
    parser.add_argument("--json", action="store_true", help="write JSON")
    if name != "break":
        parser.add_argument(
            "--id",
            metavar="ID",
            help="id to take, a GUID (default: a random one)"
            if name == "acquire"
            else "id of the lease",
        )
    if name == "acquire":
        shortest, longest = SHARE_LEASE_SECONDS
        parser.add_argument(
            "--duration",
            metavar="SECONDS",
            help=f"for a share: {shortest} to {longest}, or infinite (default: infinite)",
        )
    if name == "break":
        parser.add_argument(
            "--break-period",
            metavar="SECONDS",
            help=f"for a share: 0 to {SHARE_LEASE_SECONDS[1]} (default: the rest of its duration)",
        )
    add_connection(parser)
    parser.set_defaults(run=run, action=name)


def run(arguments: argparse.Namespace) -> int:
    """Do one of the actions."""
    place = place_named(arguments.share, arguments.path)
    path = share_path(place.path) if place.path else None

    from azfilesfs.daemon.leases import LeaseOrder, do_lease

    order = LeaseOrder(
        action=arguments.action,
        share=place.share,
        path=path,
        endpoint=place.endpoint,
        lease_id=_id(getattr(arguments, "id", None)),
        duration=_duration(getattr(arguments, "duration", None)),
        break_period=_break_period(getattr(arguments, "break_period", None)),
    )
    outcome = do_lease(sources_of(place, arguments), order)
    if arguments.json:
        print(json.dumps(_document(place, order.action, outcome)))
    else:
        print(_words(order.action, outcome))
    return int(ExitCode.OK)


def _id(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise CommandFailed(ExitCode.USAGE, "--id takes a GUID") from None


def _duration(text: str | None) -> int:
    if text is None or text in {"infinite", str(INFINITE_LEASE)}:
        return INFINITE_LEASE
    return _seconds("--duration", text, *SHARE_LEASE_SECONDS)


def _break_period(text: str | None) -> int | None:
    return None if text is None else _seconds("--break-period", text, 0, SHARE_LEASE_SECONDS[1])


def _seconds(flag: str, text: str, shortest: int, longest: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
    if not shortest <= number <= longest:
        raise CommandFailed(ExitCode.USAGE, f"{flag} takes {shortest} to {longest} whole seconds")
    return number


def _document(place: Place, action: str, outcome: LeaseOutcome) -> dict[str, object]:
    document: dict[str, object] = {"action": action, "share": place.share}
    document["path"] = place.path or None
    if outcome.lease_id is not None:
        document["lease_id"] = outcome.lease_id
    if outcome.seconds is not None:
        document["seconds"] = outcome.seconds
    return document


def _words(action: str, outcome: LeaseOutcome) -> str:
    if action == "acquire":
        return str(outcome.lease_id)
    if outcome.seconds:
        return f"broken; another can be taken in {outcome.seconds} s"
    return {"renew": "renewed", "release": "released", "break": "broken"}[action]
