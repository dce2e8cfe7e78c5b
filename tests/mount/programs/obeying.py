"""Open, lock, read and write as told: a JSON object a line in, one out with errno and result.

``{"do": "open", "path": ...}``, ``lock`` (kind, mode, wait, start, length), ``write`` (offset,
text), ``read`` (offset, size), ``fsync``, ``close``. SIGUSR1 ends a call that blocks with EINTR.
"""

import errno
import fcntl
import json
import os
import signal
import struct
import sys
import time
from typing import Any

_MODES = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX, "none": fcntl.LOCK_UN}
_TYPES = {"shared": fcntl.F_RDLCK, "exclusive": fcntl.F_WRLCK, "none": fcntl.F_UNLCK}
_FLOCK = struct.Struct("hhqqi4x")


class Interrupted(Exception):
    """A signal has come."""


def interrupt(*_: object) -> None:
    """End what blocks; without an exception Python would begin it anew."""
    raise Interrupted


class Obeying:
    """One open file and what may be done to it."""

    def __init__(self) -> None:
        """Begin without a file."""
        self.descriptor = -1

    def open(self, path: str) -> None:
        """Open for reading and writing."""
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        """Close."""
        os.close(self.descriptor)

    def lock(
        self, kind: str, mode: str, wait: bool = True, start: int = 0, length: int = 0
    ) -> None:
        """Take, change or give up a lock."""
        if kind == "ofd":
            command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
            data = _FLOCK.pack(_TYPES[mode], os.SEEK_SET, start, length, 0)
            fcntl.fcntl(self.descriptor, command, data)
            return
        flags = _MODES[mode] | (0 if wait or mode == "none" else fcntl.LOCK_NB)
        if kind == "flock":
            fcntl.flock(self.descriptor, flags)
        else:
            fcntl.lockf(self.descriptor, flags, length, start)

    def write(self, offset: int, text: str) -> int:
        """Write."""
        return os.pwrite(self.descriptor, text.encode(), offset)

    def read(self, offset: int, size: int) -> str:
        """Read."""
        return os.pread(self.descriptor, size, offset).decode()

    def fsync(self) -> None:
        """Bring it to the service."""
        os.fsync(self.descriptor)


def obey(process: Obeying, order: dict[str, Any]) -> dict[str, Any]:
    """Do one thing."""
    began = time.monotonic()
    number, result = 0, None
    try:
        result = getattr(process, order.pop("do"))(**order)
    except Interrupted:
        number = errno.EINTR
    except OSError as error:
        number = error.errno or errno.EIO
    return {"errno": number, "result": result, "from": began, "to": time.monotonic()}


def main() -> None:
    """Obey until there are no more orders."""
    signal.signal(signal.SIGUSR1, interrupt)
    process = Obeying()
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(process, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
