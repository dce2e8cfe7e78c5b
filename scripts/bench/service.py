"""One service for one workload: emulator and nginx in processes of their own, and who asks them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azfilesfs.emulator.offload import OffloadDirectory
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from scripts.bench.nginx import Nginx, NginxPlan
from scripts.bench.rest import Rest
from scripts.bench.seed import SHARE, SeedFile, seed

COMMAND: Final = Path(sys.executable).parent / "azfilesfs"
PATIENCE: Final = 180.0


def eventually(look: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until there is something.

    Raises:
        TimeoutError: there is nothing in time.
    """
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class ServicePaths:
    """Where a service lies below its folder."""

    root: Path

    @property
    def data(self) -> Path:
        """The emulator's data directory."""
        return self.root / "data"

    @property
    def offload(self) -> OffloadDirectory:
        """What emulator and nginx share."""
        return OffloadDirectory(self.root / "o")

    @property
    def nginx(self) -> Path:
        """The files of nginx."""
        return self.root / "nginx"


class BenchService:
    """A running emulator behind nginx.

    Attributes:
        environment: what mounts and other clients need to reach it.
        rest: the second client.
        pids: of the emulator and of nginx, for their CPU.
        plain_url: nginx alone, with the same bytes.
    """

    def __init__(self, paths: ServicePaths) -> None:
        """Start both.

        Raises:
            OSError: one of them does not serve.
            NginxMissing: nginx is not installed.
        """
        self.paths = paths
        self._emulator = _start_emulator(paths)
        port, plain_port = free_port(), free_port()
        plan = NginxPlan(paths.nginx, paths.offload, paths.data, port, plain_port)
        try:
            self._nginx = Nginx(plan)
        except BaseException:
            self._emulator.terminate()
            self._emulator.wait()
            raise
        self.url = f"https://127.0.0.1:{port}/{DEFAULT_ACCOUNT}"
        self.plain_url = f"https://127.0.0.1:{plain_port}"
        self.ca_file = paths.root / "env.ca.pem"
        self.pids = {"emulator": self._emulator.pid, "nginx": self._nginx.pid}
        self.environment = {
            "AZURE_STORAGE_CONNECTION_STRING": (
                f"DefaultEndpointsProtocol=https;AccountName={DEFAULT_ACCOUNT};"
                f"AccountKey={DEFAULT_KEY};FileEndpoint={self.url};"
            ),
            "AZFILESFS_CA_FILE": str(self.ca_file),
        }
        try:
            eventually(lambda: _answers(port), "nginx serves", 20)
            self.rest = Rest(self.url, self.ca_file)
            self.rest.counts()
        except BaseException:
            self._stop_processes()
            raise

    def content_name(self, path: str) -> str:
        """Return the name of a file's content, for requests to nginx alone.

        Raises:
            FileNotFoundError: there is no such content.
        """
        size = self.rest.size(path)
        for found in sorted((self.paths.data / "content").iterdir()):
            if found.stat().st_size == size and size:
                return found.name
        raise FileNotFoundError(path)

    def stop(self) -> None:
        """Stop both, leaving their files."""
        self.rest.close()
        self._stop_processes()

    def _stop_processes(self) -> None:
        self._nginx.stop()
        self._emulator.terminate()
        try:
            self._emulator.wait(20)
        except subprocess.TimeoutExpired:
            self._emulator.kill()
            self._emulator.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start_emulator(paths: ServicePaths) -> subprocess.Popen[bytes]:
    env_file = paths.root / "env"
    env_file.unlink(missing_ok=True)
    with (paths.root / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [
                COMMAND, "emulator", "--share", SHARE, "--data", paths.data,
                "--offload", paths.offload.path, "--env-file", env_file,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )  # fmt: skip
    try:
        eventually(lambda: env_file.exists() or process.poll() is not None, "the emulator serves")
    except TimeoutError:
        process.kill()
        process.wait()
        raise
    if process.poll() is not None:
        raise OSError((paths.root / "emulator.log").read_text().strip())
    return process


@contextmanager
def served(root: Path, files: Iterable[SeedFile]) -> Iterator[BenchService]:
    """Seed and run a service in a folder of its own while the block runs; then remove it."""
    paths = ServicePaths(root)
    root.mkdir(mode=0o700, parents=True)
    try:
        seed(paths.data, files)
        service = BenchService(paths)
        try:
            yield service
        finally:
            service.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
