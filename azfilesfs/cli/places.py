"""What a path on the command line means in a share, and the credentials that its mount has."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

from azfilesfs.cli.parsing import add_options, given, refuse
from azfilesfs.config.credentials import CredentialSources
from azfilesfs.config.directories import base_directories
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import credential_sources, load_file
from azfilesfs.config.mount_options import CREDENTIAL_OPTIONS, REFUSED_SECRETS
from azfilesfs.model.names import to_service
from azfilesfs.model.paths import SharePath


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a share.

    Attributes:
        path: below the share's root, names spelled as on a mount; empty for the root.
        endpoint: that of the mount that it lies on; None where it was named by its share.
        flags: the mount's flags that name its credential files.
    """

    share: str
    path: str = ""
    endpoint: str | None = None
    flags: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "/".join(part for part in (self.share, self.path) if part)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which credentials to use."""
    parser.add_argument("--config", metavar="FILE", help="configuration file, as for mount")
    add_options(parser, CREDENTIAL_OPTIONS)
    for flag, instead in REFUSED_SECRETS.items():
        refuse(parser, flag, f"--{flag} would show a secret to every user: use --{instead} FILE")


def place_on_mount(text: str) -> Place | None:
    """Return what a path means that lies on a mount of ours; None for any other path."""
    from azfilesfs.daemon.mounts import locate

    found = locate(Path(text), base_directories(os.environ, os.getuid()).runtime)
    if found is None:
        return None
    record, below = found
    path = "/".join(part for part in (record.directory, below) if part and part != ".")
    return Place(record.share, path, record.endpoint, record.credentials)


def place_named(share: str | None, path: str | None) -> Place:
    """Return the place that ``--share`` and a path name, or a path on a mount alone.

    Raises:
        CommandFailed: neither is given, or the path is not on a mount.
    """
    if share is not None:
        if "/" in share.strip("/") or not share.strip("/"):
            raise CommandFailed(ExitCode.USAGE, "--share takes the name of a share alone")
        return Place(share.strip("/"), (path or "").strip("/"))
    if path is None:
        raise CommandFailed(ExitCode.USAGE, "name a PATH on a mount, or --share SHARE")
    found = place_on_mount(path)
    if found is None:
        raise CommandFailed(
            ExitCode.USAGE, f"{path} is not on a mount of azfilesfs: name its share with --share"
        )
    return found


def sources_of(place: Place, arguments: argparse.Namespace) -> CredentialSources:
    """Return where the credentials for a place come from: flags, its mount, environment, file.

    Raises:
        ConfigurationError: a flag, or the configuration file, is wrong.
    """
    flags = place.flags | given(arguments, CREDENTIAL_OPTIONS)
    if arguments.config is not None:
        flags["config"] = arguments.config
    file, name = load_file(flags, os.environ, "mount", place.share)
    return credential_sources(flags, os.environ, file, name)


def share_path(text: str) -> SharePath:
    """Return a path of the share from one whose names are spelled as on a mount.

    Raises:
        InvalidPath: no file of a share can have it.
    """
    path = SharePath(tuple(to_service(os.fsencode(name)) for name in text.split("/") if name))
    path.check()
    return path
