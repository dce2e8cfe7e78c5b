"""Take the shared lock again and again, and read under it: ``reading.py KIND PATH STOP``.

Ends once the file ``STOP`` exists; says on standard output how often it had the lock and whether it
ever saw two different halves.
"""

import fcntl
import os
import sys
import time

_LOCKS = {"flock": fcntl.flock, "fcntl": fcntl.lockf}


def main(kind: str, path: str, stop: str) -> None:
    """Read."""
    lock, times = _LOCKS[kind], 0
    while not os.path.exists(stop):
        with open(path, "rb", buffering=0) as file:
            lock(file, fcntl.LOCK_SH)
            before = os.pread(file.fileno(), 8, 0)
            time.sleep(0.05)
            after = os.pread(file.fileno(), 8, 8)
            lock(file, fcntl.LOCK_UN)
        if before != after:
            raise SystemExit(f"torn: {before!r} and {after!r}")
        times += 1
    print(times)


if __name__ == "__main__":
    main(*sys.argv[1:4])
