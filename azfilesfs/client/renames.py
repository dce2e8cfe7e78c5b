"""Rename File and Rename Directory: atomic at the service, and not repeatable blindly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import (
    Call,
    Target,
    Times,
    check_sendable,
    lease_headers,
    metadata_headers,
)
from azfilesfs.client.responses import number, optional, properties_of
from azfilesfs.client.transport import WireAnswer
from azfilesfs.errors import AzureFilesError
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind, Properties

_SOURCE_HEADER = "x-ms-file-rename-source"


class RenameOperations(ShareOperations):
    """Renames inside one share."""

    async def rename_file(  # noqa: PLR0913 - one keyword per header of the REST page
        self,
        source: SharePath,
        destination: SharePath,
        *,
        replace: bool = False,
        ignore_readonly: bool = False,
        expected_file_id: int | None = None,
        source_lease_id: str | None = None,
        destination_lease_id: str | None = None,
        times: Times | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Properties:
        """Rename a file in one step (Rename File). Its file id, times and lease go with it.

        Metadata is replaced by what is given, and stays without it.

        After a lost answer the destination is looked at before anything is sent again: with
        ``expected_file_id`` given, a destination that carries it means done. The size is unknown in
        the answer of a rename.

        Raises:
            FileAlreadyExists: the destination exists and ``replace`` is not set.
            FileNotFound: the source does not exist; with ``may_have_been_applied`` set, possibly
                because this call moved it.
            ParentNotFound: the directory of the destination does not exist.
            ReadOnlyFile: the destination has the ReadOnly attribute.
            LeaseIdMissing: source or destination is leased.
            InvalidPath: the new name is one that the service forbids.
            InvalidRequest: a name or value of the metadata cannot be sent.
        """
        headers = {
            "x-ms-file-rename-replace-if-exists": str(replace).lower(),
            "x-ms-file-rename-ignore-readonly": str(ignore_readonly).lower(),
            **lease_headers(source_lease_id, "x-ms-source-lease-id"),
            **lease_headers(destination_lease_id, "x-ms-destination-lease-id"),
            **(times or Times()).headers(),
            **metadata_headers(metadata),
        }
        call = self._rename_call("RenameFile", Target.FILE, source, destination, headers)
        return await self._rename(call, EntryKind.FILE, destination, expected_file_id)

    async def rename_directory(
        self,
        source: SharePath,
        destination: SharePath,
        *,
        times: Times | None = None,
        expected_file_id: int | None = None,
    ) -> Properties:
        """Rename a directory with all below it in one step (Rename Directory).

        Never with replace: the service would replace a file of that name. Lost answers as
        ``rename_file``.

        Raises:
            FileAlreadyExists: the destination exists.
            DirectoryNotFound: the source does not exist; with ``may_have_been_applied`` set,
                possibly because this call moved it.
            ParentNotFound: the directory of the destination does not exist.
            InvalidPath: the new name is one that the service forbids.
        """
        headers = {
            "x-ms-file-rename-replace-if-exists": "false",
            **(times or Times()).headers(),
        }
        call = self._rename_call("RenameDirectory", Target.DIRECTORY, source, destination, headers)
        return await self._rename(call, EntryKind.DIRECTORY, destination, expected_file_id)

    def _rename_call(
        self,
        name: str,
        target: Target,
        source: SharePath,
        destination: SharePath,
        headers: dict[str, str],
    ) -> Call:
        destination.check()
        check_sendable(source)
        return self._call(
            name,
            "PUT",
            target,
            destination,
            query={"comp": "rename"},
            headers=headers,
            source=(_SOURCE_HEADER, source),
            mutates=True,
        )

    async def _rename(
        self, call: Call, kind: EntryKind, destination: SharePath, expected_file_id: int | None
    ) -> Properties:
        async def settle(_error: AzureFilesError) -> WireAnswer | None:
            return await self._found(kind, destination, expected_file_id)

        settled = call if expected_file_id is None else dataclasses.replace(call, settle=settle)
        return await self._ask(settled, lambda answer: properties_of(answer, kind))

    async def _found(
        self, kind: EntryKind, path: SharePath, expected_file_id: int | None
    ) -> WireAnswer | None:
        """Return the answer of a look at a path if what lies there has the expected file id."""
        if kind is EntryKind.FILE:
            call = self._call("GetFileProperties", "HEAD", Target.FILE, path)
        else:
            call = self._call("GetDirectoryProperties", "GET", Target.DIRECTORY, path)
        try:
            answer = await self._send(call)
        except AzureFilesError:
            # The first failure is the one to report.
            return None
        found = optional(answer.headers, "x-ms-file-id", number)
        return answer if found == expected_file_id else None
