"""Operations on directories: create, delete, properties, metadata, listing, rename."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from azfilesfs.client.listing import parse_listing
from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import (
    Target,
    Times,
    attribute_headers,
    metadata_headers,
)
from azfilesfs.client.responses import (
    ListPage,
    changed_directory,
    metadata_of,
    service_time,
    shown_directory,
)
from azfilesfs.client.transport import WireAnswer
from azfilesfs.errors import (
    AzureFilesError,
    DirectoryNotFound,
    FileAlreadyExists,
    ParentNotFound,
    ProtocolError,
)
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.limits import LIST_PAGE_ENTRIES, MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.model.times import floor_to_tick

ALL_DETAILS: Final = ("Timestamps", "Etag", "Attributes")
"""What a listing can say of an entry beyond its name, size and file id."""

_PAGE_BYTES: Final = 64 * MIB


class DirectoryOperations(ShareOperations):
    """The directories of one share."""

    async def create_directory(
        self,
        path: SharePath,
        *,
        times: Times | None = None,
        attributes: FileAttributes | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Properties:
        """Create a directory; natively exclusive (Create Directory).

        Where an answer was lost, a directory that exists with the given creation time is taken as
        the one made here.

        Raises:
            FileAlreadyExists: the name is taken; where no creation time was given and
                ``may_have_been_applied`` is set, possibly by this very call.
            ParentNotFound: a directory above it does not exist.
            InvalidPath: the name is one that the service forbids.
        """
        path.check()
        call = self._call(
            "CreateDirectory",
            "PUT",
            Target.DIRECTORY,
            path,
            headers={
                **(times or Times()).headers(),
                **attribute_headers(attributes),
                **metadata_headers(metadata),
            },
            success=frozenset({201}),
            mutates=True,
        )
        try:
            return await self._ask(call, changed_directory)
        except FileAlreadyExists as error:
            own = await self._own_directory(path, times, error)
            if own is None:
                raise
            return own

    async def _own_directory(
        self, path: SharePath, times: Times | None, error: AzureFilesError
    ) -> Properties | None:
        if (
            not error.may_have_been_applied
            or times is None
            or not isinstance(times.creation_ns, int)
        ):
            return None
        existing = await self.get_directory_properties(path)
        return existing if existing.creation_time_ns == floor_to_tick(times.creation_ns) else None

    async def delete_directory(self, path: SharePath) -> None:
        """Delete an empty directory (Delete Directory).

        A directory that is gone when the request is repeated after a lost answer counts as deleted.

        Raises:
            DirectoryNotEmpty: it has entries.
            DirectoryNotFound: it does not exist.
        """
        call = self._call(
            "DeleteDirectory",
            "DELETE",
            Target.DIRECTORY,
            path,
            success=frozenset({202}),
            mutates=True,
        )
        try:
            await self._send(call)
        except (DirectoryNotFound, ParentNotFound) as error:
            if not error.may_have_been_applied:
                raise

    async def get_directory_properties(
        self, path: SharePath, *, snapshot: str | None = None
    ) -> Properties:
        """Return the properties of a directory, the root included (Get Directory Properties).

        Raises:
            DirectoryNotFound: it does not exist.
            ParentNotFound: a directory above it does not exist.
        """
        call = self._call(
            "GetDirectoryProperties",
            "GET",
            Target.DIRECTORY,
            path,
            query={"sharesnapshot": snapshot},
        )
        return await self._ask(call, shown_directory)

    async def set_directory_properties(
        self,
        path: SharePath,
        *,
        times: Times | None = None,
        attributes: FileAttributes | None = None,
    ) -> Properties:
        """Set times and attributes; what is omitted stays (Set Directory Properties).

        Raises:
            DirectoryNotFound: it does not exist.
        """
        call = self._call(
            "SetDirectoryProperties",
            "PUT",
            Target.DIRECTORY,
            path,
            query={"comp": "properties"},
            headers={**(times or Times()).headers(), **attribute_headers(attributes)},
            mutates=True,
        )
        return await self._ask(call, changed_directory)

    async def get_directory_metadata(
        self, path: SharePath, *, snapshot: str | None = None
    ) -> Mapping[str, str]:
        """Return the metadata of a directory (Get Directory Metadata).

        Raises:
            DirectoryNotFound: it does not exist.
        """
        call = self._call(
            "GetDirectoryMetadata",
            "GET",
            Target.DIRECTORY,
            path,
            query={"comp": "metadata", "sharesnapshot": snapshot},
        )
        return await self._ask(call, metadata_of)

    async def set_directory_metadata(self, path: SharePath, metadata: Mapping[str, str]) -> str:
        """Replace the metadata of a directory and return its new ETag (Set Directory Metadata).

        Raises:
            DirectoryNotFound: it does not exist.
            InvalidRequest: a name or value cannot be sent.
        """
        call = self._call(
            "SetDirectoryMetadata",
            "PUT",
            Target.DIRECTORY,
            path,
            query={"comp": "metadata"},
            headers=metadata_headers(metadata),
            mutates=True,
        )
        return (await self._ask(call, changed_directory)).etag or ""

    async def list_page(
        self,
        path: SharePath,
        *,
        marker: str | None = None,
        prefix: str | None = None,
        page_size: int = LIST_PAGE_ENTRIES,
        include: tuple[str, ...] = ALL_DETAILS,
        snapshot: str | None = None,
    ) -> ListPage:
        """Return one page of a directory (List Directories and Files).

        Names come as listed and are not checked. Pages are not a snapshot: an entry that is renamed
        meanwhile can be missed or come twice.

        Args:
            path: the directory.
            marker: ``next_marker`` of the page before.
            prefix: only names that begin so, in any case.
            page_size: 1 to 5,000 entries.
            include: details beyond name, size and file id.
            snapshot: list this snapshot of the share.

        Raises:
            DirectoryNotFound: it does not exist.
            ProtocolError: the listing is not one.
            ValueError: the page size is out of range.
        """
        if not 1 <= page_size <= LIST_PAGE_ENTRIES:
            raise ValueError(f"a page has 1 to {LIST_PAGE_ENTRIES} entries")
        call = self._call(
            "ListDirectoriesAndFiles",
            "GET",
            Target.DIRECTORY,
            path,
            query={
                "comp": "list",
                "prefix": prefix or None,
                "marker": marker,
                "maxresults": str(page_size),
                "include": ",".join(include) or None,
                "sharesnapshot": snapshot,
            },
            headers={"x-ms-file-extended-info": "true"} if include else {},
            body_limit=_PAGE_BYTES,
        )
        page = await self._pipeline.execute(call, _page)
        if marker is not None and page.next_marker == marker:
            raise ProtocolError("the listing does not get on: its next marker is the one sent")
        return page

    async def list_directories_and_files(
        self,
        path: SharePath,
        *,
        prefix: str | None = None,
        page_size: int = LIST_PAGE_ENTRIES,
        include: tuple[str, ...] = ALL_DETAILS,
        snapshot: str | None = None,
    ) -> AsyncIterator[ListPage]:
        """Yield the pages of a directory; arguments and errors as ``list_page``.

        Wrap it in ``contextlib.aclosing`` where the iteration may stop early.
        """
        marker: str | None = None
        while True:
            page = await self.list_page(
                path,
                marker=marker,
                prefix=prefix,
                page_size=page_size,
                include=include,
                snapshot=snapshot,
            )
            yield page
            if page.next_marker is None:
                return
            marker = page.next_marker


async def _page(answer: WireAnswer) -> ListPage:
    moment = service_time(answer.headers)
    listing = await parse_listing(bytes(answer.body))
    return ListPage(listing.entries, listing.next_marker, listing.directory_id, moment)
