"""Add to a counter in a file under a lock: ``counting.py flock|fcntl PATH SIDE TIMES``.

The file holds the count, how often the side has changed, and the side that added last.
"""

import fcntl
import os
import sys

_LOCKS = {"flock": fcntl.flock, "fcntl": fcntl.lockf}


def main(kind: str, path: str, side: str, times: int) -> None:
    """Add."""
    lock = _LOCKS[kind]
    with open(path, "r+b", buffering=0) as file:
        for _ in range(times):
            lock(file, fcntl.LOCK_EX)
            count, changes, last = os.pread(file.fileno(), 100, 0).decode().split()
            changed = int(changes) + (last != side)
            os.pwrite(file.fileno(), f"{int(count) + 1:08} {changed:08} {side}\n".encode(), 0)
            lock(file, fcntl.LOCK_UN)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
