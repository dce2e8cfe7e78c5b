"""``azfilesfs mount``."""

from __future__ import annotations

import argparse
import os

from azfilesfs.cli.parsing import SubParsers, add_options, given, refuse
from azfilesfs.config.mount import build_mount
from azfilesfs.config.mount_options import MOUNT_OPTIONS, NOT_YET, REFUSED_SECRETS

_DESCRIPTION = """\
Mount a share, or a directory of it, on an empty directory. The command ends once the share has
answered and the mount can be used; the mount is then served in the background.
"""

_EPILOG = """\
Every option can also be set by an environment variable (AZFILESFS_ and its name in capitals, such
as AZFILESFS_ATTR_TTL) or in the configuration file; a flag is stronger than a variable, a variable
stronger than the file. Exit statuses: docs/reference/exit-codes.md.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "mount",
        help="mount a share",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("share", metavar="SHARE[/DIR]", help="share, and a directory in it")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", help="an empty directory")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="configuration file (default: $XDG_CONFIG_HOME/azfilesfs/config.toml, "
        "then /etc/azfilesfs/config.toml)",
    )
    add_options(parser, MOUNT_OPTIONS)
    for flag, instead in REFUSED_SECRETS.items():
        refuse(
            parser,
            flag,
            f"--{flag} would show a secret to every user of this machine: use --{instead} FILE",
        )
    for flag in NOT_YET:
        refuse(parser, flag, f"--{flag} is not yet available")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Mount."""
    flags = given(arguments, MOUNT_OPTIONS)
    if arguments.config is not None:
        flags["config"] = arguments.config
    config = build_mount(arguments.share, arguments.mountpoint, flags, os.environ)

    from azfilesfs.daemon.launch import mount

    return mount(config)
