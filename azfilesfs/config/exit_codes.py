"""What an exit status means, the same for every command (docs/reference/exit-codes.md)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit statuses of ``azfilesfs``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    MOUNTPOINT_IN_USE = 6
    MOUNTPOINT_NOT_EMPTY = 7
    MOUNTPOINT_UNUSABLE = 8
    FUSE_UNAVAILABLE = 9
    UNSENT_DATA = 10
    NOT_MOUNTED = 11
    STILL_DRAINING = 12
    LEASED = 13
    INTERNAL = 70
    INTERRUPTED = 130


class CommandFailed(Exception):
    """A command cannot do its work; the message is the one line that its user reads.

    Attributes:
        code: the exit status.
    """

    def __init__(self, code: ExitCode, message: str) -> None:
        """Keep the status and the line."""
        super().__init__(message)
        self.code = code
