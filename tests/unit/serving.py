"""An emulator in a process of its own, on a socket, for tests of commands."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(folder: Path, *shares: str) -> Iterator[dict[str, str]]:
    """Serve shares and hand out the environment that their clients need."""
    env_file = folder / "env"
    command = [sys.executable, "-m", "azfilesfs", "emulator", "--listen", "127.0.0.1:0", "--http"]
    process = subprocess.Popen([*command, "--share", *shares, "--env-file", env_file])
    try:
        deadline = time.monotonic() + 60
        while not env_file.exists():
            assert process.poll() is None, "the emulator ended"
            assert time.monotonic() < deadline, "the emulator did not start"
            time.sleep(0.01)
        lines = env_file.read_text().splitlines()
        yield dict(line.partition("=")[::2] for line in lines)
    finally:
        process.terminate()
        process.wait(30)
