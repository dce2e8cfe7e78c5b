"""An emulator and mounts of its shares, all through the real command in processes of their own."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

COMMAND = Path(sys.executable).parent / "azfilesfs"
PATIENCE = 60.0

R = TypeVar("R")


def eventually(look: Callable[[], R], what: str, seconds: float = PATIENCE) -> R:
    """Look again and again until there is something, and fail after a while."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found


def run(
    *command: object,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    expect: int | None = 0,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and check its exit status."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | (environment or {}),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if expect is not None:
        shown = " ".join(str(word) for word in command)
        assert done.returncode == expect, (
            f"{shown}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done


@dataclass
class Emulator:
    """A running ``azfilesfs emulator``."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """Return its endpoint, with the account."""
        fields = self.environment["AZURE_STORAGE_CONNECTION_STRING"].split(";")
        (found,) = (field for field in fields if field.startswith("FileEndpoint="))
        return found.partition("=")[2]

    def _ask(self, method: str, path: str, document: object = None) -> Any:
        base = self.url.rstrip("/").rpartition("/")[0]
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{base}/_emulator/{path}", data=body, method=method)
        context = ssl.create_default_context(cafile=self.environment["AZFILESFS_CA_FILE"])
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def requests(self) -> dict[str, dict[str, int]]:
        """Return how often each operation was answered, by status, since the last reset."""
        found: dict[str, dict[str, int]] = self._ask("GET", "requests")["operations"]
        return found

    def count(self, operation: str) -> int:
        """Return how often an operation was asked for since the last reset."""
        return sum(self.requests().get(operation, {}).values())

    def reset(self) -> None:
        """Begin to count anew."""
        self._ask("DELETE", "requests")

    def plan(self, *faults: dict[str, Any]) -> None:
        """Plan faults."""
        self._ask("PUT", "faults", {"rules": list(faults)})

    def heal(self) -> None:
        """Forget all faults."""
        self._ask("DELETE", "faults")


@contextmanager
def running_emulator(folder: Path, *arguments: object) -> Iterator[Emulator]:
    """Run an emulator over https until the block ends."""
    env_file = folder / "env"
    env_file.unlink(missing_ok=True)
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "emulator", "--env-file", env_file, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            eventually(
                lambda: env_file.exists() or process.poll() is not None, "the emulator serves"
            )
            assert process.poll() is None, (folder / "emulator.log").read_text()
            lines = env_file.read_text().splitlines()
            yield Emulator(process, dict(line.split("=", 1) for line in lines))
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0, (folder / "emulator.log").read_text()


@dataclass
class Mount:
    """A mountpoint with what its command needs; ``path`` is where it shows."""

    path: Path
    home: Path
    target: str
    environment: dict[str, str]
    flags: tuple[str, ...] = ()
    is_mounted: bool = field(default=False)

    @property
    def xdg(self) -> dict[str, str]:
        """Return the environment of its commands."""
        return self.environment | {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
        }

    def command(self, *words: object, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run ``azfilesfs`` in its environment."""
        return run(COMMAND, *words, environment=self.xdg, expect=expect)

    def mount(self, *flags: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Mount it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # also where a dead mount cannot be looked at
            self.path.mkdir()
        done = self.command("mount", self.target, self.path, *self.flags, *flags, expect=expect)
        self.is_mounted = done.returncode == 0
        return done

    def umount(self, *flags: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Unmount it and wait for everything to be sent."""
        done = self.command("umount", self.path, *flags, expect=expect)
        self.is_mounted = False
        return done

    def forget_cache(self) -> None:
        """Delete what was cached, as if on another machine."""
        run("rm", "-rf", self.home / "cache")

    def pid(self) -> int:
        """Return the process that serves it."""
        (record,) = (self.home / "run" / "azfilesfs").glob("*.json")
        found: int = json.loads(record.read_text())["pid"]
        return found

    def log(self) -> str:
        """Return the daemon's log."""
        files = (self.home / "state").rglob("daemon.log")
        return "".join(file.read_text() for file in files)

    def unsent(self) -> list[Path]:
        """Return what lies in the staging area; directories that wait for a file are empty."""
        return [path for path in (self.home / "state").rglob("data") if path.stat().st_size]


@contextmanager
def mounted(folder: Path, emulator: Emulator, target: str, *flags: str) -> Iterator[Mount]:
    """Mount a share until the block ends; then nothing may be left unsent."""
    made = Mount(folder / "mnt", folder / "home", target, emulator.environment, flags)
    made.home.mkdir(parents=True)
    made.mount()
    try:
        yield made
    finally:
        if made.is_mounted:
            made.umount()
