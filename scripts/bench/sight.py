"""What a second client sees of a tree: names and sizes, over several connections at once."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree

from scripts.bench.rest import Rest
from scripts.bench.service import BenchService, eventually

CONNECTIONS: Final = 8
QUIET: Final = 6.0
"""Seconds after which nothing more is sent; rclone keeps what was written for 5."""


def wait_for_rest(service: BenchService, quiet: float = QUIET) -> None:
    """Wait until nobody has asked the service anything for so many seconds.

    Raises:
        TimeoutError: somebody does not cease.
    """
    last: tuple[int, float] = (-1, time.monotonic())

    def rests() -> bool:
        nonlocal last
        requests = service.rest.counts().requests
        if requests != last[0]:
            last = (requests, time.monotonic())
        time.sleep(min(quiet / 20, 0.25))
        return time.monotonic() - last[1] >= quiet

    eventually(rests, "the service is left alone")


def local_sizes(root: Path) -> dict[str, int]:
    """Return the size of every regular file below a directory, by its path from there."""
    return {
        os.path.relpath(path, root): path.lstat().st_size
        for folder, _, files in os.walk(root)
        for path in (Path(folder, file) for file in files)
        if path.is_file() and not path.is_symlink()
    }


class Sight:
    """A second client that looks at trees; what it asks is not counted.

    Attributes:
        sizes: the size of every file that it has seen, by path from the root of the tree.
    """

    def __init__(self, service: BenchService, folder: str) -> None:
        """Prepare to look at a directory of the share."""
        self.sizes: dict[str, int] = {}
        self._service = service
        self._folder = folder

    def look(self) -> None:
        """List the whole tree, several directories at once."""
        clients: queue.SimpleQueue[Rest] = queue.SimpleQueue()
        made = [self._service.rest.another() for _ in range(CONNECTIONS)]
        for client in made:
            clients.put(client)

        def visit(directory: str) -> list[str]:
            client = clients.get()
            try:
                return self._list(client, directory)
            finally:
                clients.put(client)

        try:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                level = [""]
                while level:
                    level = [inner for found in pool.map(visit, level) for inner in found]
        finally:
            for client in made:
                client.close()

    def _list(self, client: Rest, directory: str) -> list[str]:
        """Take the files of one directory over and return the directories in it."""
        found: list[str] = []
        place = f"{self._folder}/{directory}".rstrip("/")
        marker = ""
        while True:
            query = f"restype=directory&comp=list&marker={quote(marker, safe='')}"
            status, _, data = client.ask("GET", client.path(place, query))
            if status != 200:
                return []
            root = ElementTree.fromstring(data)  # noqa: S314  # the answer of our own emulator
            for entry in root.iterfind("./Entries/File"):
                size = entry.findtext("./Properties/Content-Length") or "0"
                self.sizes[_below(directory, entry)] = int(size)
            found += [_below(directory, entry) for entry in root.iterfind("./Entries/Directory")]
            marker = root.findtext("./NextMarker") or ""
            if not marker:
                return found

    def shows(self, wanted: Mapping[str, int]) -> bool:
        """Tell whether it has seen every one of these files with its size."""
        return all(self.sizes.get(path) == size for path, size in wanted.items())

    def wait_for(self, wanted: Mapping[str, int]) -> None:
        """Look again at one directory after the other, until all these files are seen.

        Raises:
            TimeoutError: they are not.
        """
        client = self._service.rest
        for directory, files in _by_directory(wanted.items()):

            def is_whole(directory: str = directory, files: dict[str, int] = files) -> bool:
                if self.shows(files):
                    return True
                self._list(client, directory)
                return self.shows(files)

            eventually(is_whole, f"a second client sees the files of {self._folder}/{directory}")

    def wait_until_gone(self) -> None:
        """Wait until the directory is not there any more.

        Raises:
            TimeoutError: it stays.
        """
        client = self._service.rest
        target = client.path(self._folder, "restype=directory")
        eventually(
            lambda: client.ask("HEAD", target)[0] == 404,
            f"a second client does not see {self._folder}",
        )


def _below(directory: str, entry: ElementTree.Element) -> str:
    name = entry.findtext("./Name") or ""
    return f"{directory}/{name}" if directory else name


def _by_directory(files: Iterable[tuple[str, int]]) -> list[tuple[str, dict[str, int]]]:
    found: dict[str, dict[str, int]] = {}
    for path, size in files:
        found.setdefault(path.rpartition("/")[0], {})[path] = size
    return list(found.items())
