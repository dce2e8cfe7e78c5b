"""What locks ask of the contents of files; ``ContentEffects`` answers."""

from __future__ import annotations

from typing import Protocol

from azfilesfs.model.properties import Properties
from azfilesfs.vfs.inodes import Inode


class FileContents(Protocol):
    """Before a lock is taken, once it is there, at a loss."""

    async def send_all(self, inode: Inode) -> None:
        """Bring what is dirty in a file to the service; a new, empty one becomes the file of that
        name there, whichever host makes it.

        Raises:
            VfsError: it could not be done; whether the file is still dirty tells if it may succeed
                later.
        """

    async def take_version(self, inode: Inode, properties: Properties | None) -> None:
        """Let a file show the version that the lock was taken on, which is not the one known here.

        Raises:
            VfsError: ESTALE where it is another file.
            AzureFilesError: it had to be asked for, and could not be.
        """

    def lose(self, inode: Inode, handles: set[int]) -> None:
        """Have the reads and writes of those fail who believed in a lock, until they take it again.

        ``handles`` are those that the lock was held through.
        """

    def give_up(self, inode: Inode) -> None:
        """Keep what is unsent of one file for recovery, also where an upload is under way."""

    def give_up_unsent(self) -> None:
        """Keep for recovery whatever was written while locks were held that are lost now."""

    def locked_again(self, handle: int) -> None:
        """Let a handle be used again: the lock that protects it is there."""
