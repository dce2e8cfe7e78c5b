"""Files put straight into an emulator's data directory, before it serves: a million in a minute."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, EmulatorOptions
from azfilesfs.emulator.shares import INHERITED_KEY, Service, Share
from azfilesfs.emulator.tree import Directory, File
from azfilesfs.model.attributes import FileAttributes

SHARE: Final = "bench"
MIB: Final = 1 << 20
_BLOCK: Final = 16 * MIB
_BATCH: Final = 20_000


@dataclass(frozen=True, slots=True)
class SeedFile:
    """A file: ``is_sparse`` has the size and no bytes, others get random ones."""

    path: str
    size: int
    is_sparse: bool = False


def many_files(folder: str, count: int, size: int, *, is_sparse: bool = True) -> Iterator[SeedFile]:
    """Yield ``count`` files of one folder, as ``folder/file-000000``."""
    for number in range(count):
        yield SeedFile(f"{folder}/file-{number:06d}", size, is_sparse)


def seed(data: Path, files: Iterable[SeedFile]) -> int:
    """Make the share with these files, directories as needed, and return how many there are.

    Raises:
        OSError: the data directory cannot be used.
    """
    app = create_app(EmulatorOptions(data=data, shares=(SHARE,)))
    service = app.service
    share = service.accounts[DEFAULT_ACCOUNT].shares[SHARE]
    seeder = _Seeder(service, share, data / "content")
    try:
        for file in files:
            seeder.add(file)
            if seeder.count % _BATCH == 0:
                service.commit()
        service.store.save_share(share)
    finally:
        app.close()
    return seeder.count


class _Seeder:
    """Adds nodes to a share."""

    def __init__(self, service: Service, share: Share, contents: Path) -> None:
        self._service = service
        self._share = share
        self._contents = contents
        self._folders: dict[str, Directory] = {"": share.root}
        self._block = b""
        self.count = 0

    def add(self, wanted: SeedFile) -> None:
        """Add a file and the directories above it."""
        folder, _, name = wanted.path.rpartition("/")
        now = self._service.clock.tick()
        file = File(
            id=self._share.next_id(),
            name=name,
            parent=self._folder(folder),
            attributes=FileAttributes.ARCHIVE,
            creation=now,
            last_write=now,
            change=now,
            modified=now,
            permission_key=INHERITED_KEY,
            size=wanted.size,
            content=self._service.contents.new(),
        )
        file.headers.content_type = "application/octet-stream"
        if not wanted.is_sparse and wanted.size:
            self._fill(self._contents / file.content.key, wanted.size)
            file.mark_written(0, wanted.size)
        self._folder(folder).add(file)
        self._share.used += wanted.size
        self._service.save(self._share, file)
        self.count += 1

    def _folder(self, path: str) -> Directory:
        found = self._folders.get(path)
        if found is None:
            above, _, name = path.rpartition("/")
            now = self._service.clock.tick()
            found = Directory(
                id=self._share.next_id(),
                name=name,
                parent=self._folder(above),
                attributes=FileAttributes.DIRECTORY,
                creation=now,
                last_write=now,
                change=now,
                modified=now,
                permission_key=INHERITED_KEY,
            )
            self._folder(above).add(found)
            self._service.save(self._share, found)
            self._folders[path] = found
        return found

    def _fill(self, path: Path, size: int) -> None:
        """Write random bytes; beyond 16 MiB they repeat, which no contender takes advantage of."""
        if len(self._block) < min(size, _BLOCK):
            self._block = os.urandom(min(size, _BLOCK))
        with path.open("wb", buffering=0) as stream:
            written = 0
            while written < size:
                written += stream.write(self._block[: size - written])
