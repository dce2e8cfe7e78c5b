"""What the block reader stands on: a file that can be read, and a share that answers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator


class Readable(Protocol):
    """What the reader knows of a file."""

    def held(self) -> AbstractAsyncContextManager[SharePath]:
        """Hold its path still for one request; a rename waits for that, and that for a rename."""
        ...

    @property
    def validator(self) -> Validator:
        """The version that is believed to be the current one."""

    @property
    def lease_id(self) -> str | None:
        """The lease that we hold on it."""

    def observed(self, properties: Properties) -> None:
        """Take note of an answer that contradicts ``validator``.

        Raises:
            VfsError: ESTALE, it is another file.
        """


class Content(Protocol):
    """An answer to Get File."""

    @property
    def data(self) -> bytes | memoryview:
        """The bytes of ``byte_range``."""
        ...

    @property
    def properties(self) -> Properties:
        """Of the file at that moment; the size is that of the whole file."""
        ...

    @property
    def byte_range(self) -> ByteRange:
        """What was read, cut at the end of the file."""
        ...


class FileSource(Protocol):
    """The two operations of a share that the reader uses; see ``azfilesfs.client.ShareClient``."""

    async def get_file(
        self, path: SharePath, byte_range: ByteRange | None = None, *, lease_id: str | None = None
    ) -> Content:
        """Read a range; InvalidRange where it begins at or after the end."""
        ...

    async def get_file_properties(
        self, path: SharePath, *, lease_id: str | None = None
    ) -> Properties:
        """Ask for the properties only."""
        ...
