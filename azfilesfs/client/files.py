"""Operations on files: create, delete, properties, metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import (
    Buffer,
    Settle,
    Target,
    Times,
    attribute_headers,
    content_headers,
    lease_headers,
    metadata_headers,
)
from azfilesfs.client.responses import (
    changed_file,
    etag_of_answer,
    metadata_of,
    number,
    optional,
    shown_file,
)
from azfilesfs.client.timeouts import Budget
from azfilesfs.client.transport import WireAnswer
from azfilesfs.errors import AzureFilesError, FileNotFound, FileTooLarge, ParentNotFound
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.limits import FILE_BYTES, RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import UNKNOWN_SIZE, ContentHeaders, Properties
from azfilesfs.model.versions import CREATE_WITH_DATA_SINCE, has_create_with_data


class FileOperations(ShareOperations):
    """The files of one share."""

    async def create_file(  # noqa: PLR0913 - one keyword per header of the REST page
        self,
        path: SharePath,
        size: int = 0,
        *,
        data: Buffer | None = None,
        times: Times | None = None,
        attributes: FileAttributes | None = None,
        content: ContentHeaders | None = None,
        metadata: Mapping[str, str] | None = None,
        lease_id: str | None = None,
    ) -> Properties:
        """Create a file, or overwrite the one of that name (Create File).

        What is overwritten loses its content and keeps its file id.

        Args:
            path: where.
            size: of the new file, which reads as zeros.
            data: its first bytes, 4 MiB at most; ``size`` is raised to their length.
            times: to be set; omitted ones are now.
            attributes: to be set; Archive is always added.
            content: HTTP properties.
            metadata: names and values.
            lease_id: needed where a leased file is overwritten.

        Raises:
            ParentNotFound: its directory does not exist.
            ResourceTypeMismatch: a directory has that name.
            LeaseIdMissing: a file of that name is leased.
            ReadOnlyFile: a file of that name has the ReadOnly attribute.
            FileTooLarge: the size is beyond 4 TiB, or the data beyond 4 MiB.
            InvalidPath: the name is one that the service forbids.
            ValueError: data were given and the service version takes none.
        """
        path.check()
        body: Buffer = b"" if data is None else data
        length = memoryview(body).nbytes
        _check_size(size)
        size = max(size, length)
        _check_data(length, self.service_version)
        call = self._call(
            "CreateFile",
            "PUT",
            Target.FILE,
            path,
            headers={
                "x-ms-type": "file",
                "x-ms-content-length": str(size),
                **_property_headers(times, attributes, content),
                **metadata_headers(metadata),
                **lease_headers(lease_id),
            },
            body=body,
            success=frozenset({201}),
            budget=Budget.TRANSFER if length else Budget.SMALL,
            mutates=True,
            since=CREATE_WITH_DATA_SINCE if length else "",
        )
        return await self._ask(call, changed_file(size))

    async def delete_file(
        self, path: SharePath, *, lease_id: str | None = None, expected_file_id: int | None = None
    ) -> None:
        """Delete a file (Delete File).

        A file that is gone when the request is repeated after a lost answer counts as deleted. With
        ``expected_file_id`` the name is looked at before it is repeated, so that a file made there
        meanwhile is left alone.

        Raises:
            FileNotFound: it does not exist.
            ReadOnlyFile: it has the ReadOnly attribute.
            FileLocked: an SMB client has it open.
            LeaseIdMissing: it is leased.
        """
        call = self._call(
            "DeleteFile",
            "DELETE",
            Target.FILE,
            path,
            headers=lease_headers(lease_id),
            success=frozenset({202}),
            mutates=True,
        )
        if expected_file_id is not None:
            call = dataclasses.replace(call, settle=self._settle_deletion(path, expected_file_id))
        try:
            await self._send(call)
        except (FileNotFound, ParentNotFound) as error:
            if not error.may_have_been_applied:
                raise

    def _settle_deletion(self, path: SharePath, file_id: int) -> Settle:
        async def settle(_error: AzureFilesError) -> WireAnswer | None:
            call = self._call("GetFileProperties", "HEAD", Target.FILE, path)
            try:
                answer = await self._send(call)
            except AzureFilesError:
                return None
            return answer if optional(answer.headers, "x-ms-file-id", number) != file_id else None

        return settle

    async def get_file_properties(
        self, path: SharePath, *, lease_id: str | None = None, snapshot: str | None = None
    ) -> Properties:
        """Return the properties of a file (Get File Properties).

        With a lease id it is also the question whether that lease is still held.

        Raises:
            FileNotFound: it does not exist, or is a directory.
            ParentNotFound: a directory above it does not exist.
            LeaseIdMismatch: the lease id is not the active one.
            LeaseNotPresent: a lease id was given and there is no active lease.
        """
        call = self._call(
            "GetFileProperties",
            "HEAD",
            Target.FILE,
            path,
            query={"sharesnapshot": snapshot},
            headers=lease_headers(lease_id),
        )
        return await self._ask(call, shown_file)

    async def set_file_properties(
        self,
        path: SharePath,
        *,
        size: int | None = None,
        times: Times | None = None,
        attributes: FileAttributes | None = None,
        content: ContentHeaders | None = None,
        lease_id: str | None = None,
    ) -> Properties:
        """Set size, times, attributes, HTTP properties; omitted ones stay (Set File Properties).

        The HTTP properties are one group: with ``content`` given, those that are None in it are
        cleared; an entirely empty one leaves the content type of a new file. A request with neither
        ``size`` nor ``content`` clears them too (recorded, against the documents): to set times
        alone give the present size. Without ``size`` the size is unknown in the answer.

        Raises:
            FileNotFound: it does not exist.
            FileTooLarge: the size is beyond 4 TiB.
            ReadOnlyFile: it has the ReadOnly attribute.
            LeaseIdMissing: it is leased.
        """
        resize: dict[str, str] = {}
        if size is not None:
            _check_size(size)
            resize["x-ms-content-length"] = str(size)
        group = content_headers(content)
        if content is not None and not group:
            # One of the group has to be sent for the others to be cleared; this is what a new file
            # has.
            group = {"x-ms-content-type": "application/octet-stream"}
        call = self._call(
            "SetFileProperties",
            "PUT",
            Target.FILE,
            path,
            query={"comp": "properties"},
            headers={
                **resize,
                **_property_headers(times, attributes, None),
                **group,
                **lease_headers(lease_id),
            },
            mutates=True,
        )
        known = UNKNOWN_SIZE if size is None else size
        return await self._ask(call, changed_file(known))

    async def get_file_metadata(
        self, path: SharePath, *, lease_id: str | None = None, snapshot: str | None = None
    ) -> Mapping[str, str]:
        """Return the metadata of a file (Get File Metadata).

        Raises:
            FileNotFound: it does not exist.
        """
        call = self._call(
            "GetFileMetadata",
            "GET",
            Target.FILE,
            path,
            query={"comp": "metadata", "sharesnapshot": snapshot},
            headers=lease_headers(lease_id),
        )
        return await self._ask(call, metadata_of)

    async def set_file_metadata(
        self, path: SharePath, metadata: Mapping[str, str], *, lease_id: str | None = None
    ) -> str:
        """Replace the metadata of a file and return its new ETag (Set File Metadata).

        Raises:
            FileNotFound: it does not exist.
            InvalidRequest: a name or value cannot be sent.
            LeaseIdMissing: it is leased.
        """
        call = self._call(
            "SetFileMetadata",
            "PUT",
            Target.FILE,
            path,
            query={"comp": "metadata"},
            headers={**metadata_headers(metadata), **lease_headers(lease_id)},
            mutates=True,
        )
        return await self._ask(call, lambda answer: etag_of_answer(answer.headers))


def _property_headers(
    times: Times | None, attributes: FileAttributes | None, content: ContentHeaders | None
) -> dict[str, str]:
    return {
        **(times or Times()).headers(),
        **attribute_headers(attributes),
        **content_headers(content),
    }


def _check_size(size: int) -> None:
    if not 0 <= size <= FILE_BYTES:
        raise FileTooLarge(f"a file has 0 to {FILE_BYTES} bytes")


def _check_data(length: int, version: str) -> None:
    if length > RANGE_BYTES:
        raise FileTooLarge(f"at most {RANGE_BYTES} bytes go with Create File")
    if length and not has_create_with_data(version):
        raise ValueError(f"service version {version} takes no data with Create File")
