"""Append numbered records under a lock, whatever becomes of the mount.

``ledger.py flock|fcntl PATH MARK STOP`` goes on until the file ``STOP`` exists.

Each record has the number after that of the last one and a token of its own. What happens is said
on standard output, a JSON list a line: ``["wait", from, to]`` for each lock (CLOCK_MONOTONIC),
``["done", token]`` once fsync has succeeded, ``["failed", token, errno]`` where nobody can tell.
"""

import fcntl
import json
import os
import sys
import time

RECORD = 16
_LOCKS = {"flock": fcntl.flock, "fcntl": fcntl.lockf}


def say(*words: object) -> None:
    """Report."""
    print(json.dumps(words), flush=True)


def add(kind: str, path: str, token: str) -> None:
    """Append one record; OSError says that nobody knows whether it is there."""
    lock = _LOCKS[kind]
    with open(path, "r+b", buffering=0) as file:
        began = time.monotonic()
        lock(file, fcntl.LOCK_EX)
        say("wait", began, time.monotonic())
        end = os.fstat(file.fileno()).st_size
        last = 0
        for start in range(end - RECORD, -1, -RECORD):
            # A holder that was killed while it grew the file leaves zeros.
            if (record := os.pread(file.fileno(), RECORD, start)).strip(b"\0"):
                last = int(record[:7])
                break
        os.pwrite(file.fileno(), f"{last + 1:07} {token:>7}\n".encode(), end)
        os.fsync(file.fileno())
        say("done", token)
        lock(file, fcntl.LOCK_UN)


def main(kind: str, path: str, mark: str, stop: str) -> None:
    """Append until the file ``stop`` exists."""
    number = 0
    while not os.path.exists(stop):
        number += 1
        token = f"{mark}{number:05}"
        try:
            add(kind, path, token)
        except OSError as error:
            say("failed", token, error.errno)
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:5])
