"""``mount.azfilesfs``, which mount(8) calls for lines of /etc/fstab.

    share  /mnt/x  azfilesfs  credentials=/etc/azfilesfs/x.env,uid=1000,_netdev,nofail  0 0

Its exit statuses are those of mount(8), not those of ``azfilesfs``.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from azfilesfs.cli.main import guarded
from azfilesfs.cli.parsing import Parser
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount import build_mount
from azfilesfs.config.mount_options import MOUNT_OPTIONS, NOT_YET, REFUSED_SECRETS

_WRONG_INVOCATION: Final = 1
_INTERNAL: Final = 4
_MOUNT_FAILED: Final = 32

_IGNORED: Final = frozenset(
    {
        *("defaults", "rw", "auto", "noauto", "user", "nouser", "users", "owner", "group"),
        *("_netdev", "nofail", "suid", "nosuid", "dev", "nodev", "exec", "async"),
        *("atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime"),
        *("nostrictatime", "lazytime", "nolazytime", "silent", "loud", "nomand", "iversion"),
    }
)
"""What is mount(8)'s business, or what a FUSE mount always or never has."""

_IGNORED_PREFIXES: Final = ("x-", "X-", "comment=", "user=")
_SYNONYMS: Final = {"ro": "read-only", "noexec": "no-exec"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Mount as mount(8) asks; return its kind of exit status."""
    logging.getLogger("azfilesfs").addHandler(logging.NullHandler())
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = guarded(lambda: _mount(words), "mount.azfilesfs")
    if code == ExitCode.OK:
        return 0
    if code == ExitCode.USAGE:
        return _WRONG_INVOCATION
    return _INTERNAL if code == ExitCode.INTERNAL else _MOUNT_FAILED


def _mount(words: list[str]) -> int:
    parser = Parser(prog="mount.azfilesfs", description="Mount a share for mount(8).")
    parser.add_argument("share", metavar="SHARE[/DIR]")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="OPTIONS")
    parser.add_argument("-s", dest="sloppy", action="store_true", help="ignore unknown options")
    parser.add_argument("-f", dest="fake", action="store_true", help="check only, do not mount")
    parser.add_argument("-n", action="store_true", help="ignored")
    parser.add_argument("-v", action="store_true", help="ignored")
    parser.add_argument("-N", metavar="NAMESPACE", help="ignored")
    parser.add_argument("-t", metavar="TYPE", help="ignored")
    # mount(8) puts the share and the mountpoint before the options, people do not always.
    parsed = parser.parse(words)
    flags = to_flags(",".join(parsed.options), sloppy=parsed.sloppy)
    config = build_mount(parsed.share, parsed.mountpoint, flags, os.environ)
    if parsed.fake:
        return int(ExitCode.OK)

    from azfilesfs.daemon.launch import mount

    return mount(config)


def to_flags(options: str, *, sloppy: bool = False) -> dict[str, str]:
    """Translate mount options to flags; names may be written with ``_`` for ``-``.

    Raises:
        CommandFailed: an option is unknown (unless ``sloppy``), lacks its value, or would show a
        secret.
    """
    known = {option.name: option for option in MOUNT_OPTIONS}
    flags: dict[str, str] = {}
    for text in options.split(","):
        if not text or text in _IGNORED or text.startswith(_IGNORED_PREFIXES):
            continue
        name, equals, value = text.partition("=")
        name = _SYNONYMS.get(name, name.replace("_", "-"))
        _check_name(name)
        option = known.get(name)
        if name == "config" and equals:
            flags["config"] = value
        elif option is None:
            if not sloppy:
                raise _wrong(f"unknown mount option {name!r}")
        elif option.switch:
            flags[option.key] = value if equals else "true"
        elif equals:
            flags[option.key] = value
        else:
            raise _wrong(f"the mount option {name} needs a value")
    return flags


def _check_name(name: str) -> None:
    if name in REFUSED_SECRETS:
        raise _wrong(f"{name}= would show a secret to every user: use {REFUSED_SECRETS[name]}=FILE")
    if name in NOT_YET:
        raise _wrong(f"the mount option {name} is not yet available")


def _wrong(message: str) -> CommandFailed:
    return CommandFailed(ExitCode.USAGE, message)
