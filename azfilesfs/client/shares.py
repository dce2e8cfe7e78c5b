"""Operations on the share itself: create, delete, properties, statistics, metadata, snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import Target, lease_headers, metadata_headers
from azfilesfs.client.responses import (
    ShareProperties,
    etag_of_answer,
    number,
    required,
    share_properties_of,
)
from azfilesfs.client.transport import WireAnswer
from azfilesfs.client.xml_documents import parse_document
from azfilesfs.errors import ProtocolError, ShareNotFound


class ShareManagement(ShareOperations):
    """One share as a whole; needs an account key or an account's SAS, a share's SAS may do none."""

    async def create_share(
        self, quota_gib: int | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        """Create the share and return its ETag (Create Share).

        Raises:
            ShareAlreadyExists: it exists; with ``may_have_been_applied`` set, possibly by this very
                call.
            ShareBeingDeleted: the name is still being freed.
        """
        call = self._call(
            "CreateShare",
            "PUT",
            Target.SHARE,
            None,
            headers={**_quota(quota_gib), **metadata_headers(metadata)},
            success=frozenset({201}),
            mutates=True,
        )
        return await self._ask(call, _etag)

    async def delete_share(
        self, *, delete_snapshots: bool = False, lease_id: str | None = None
    ) -> None:
        """Delete the share with everything in it (Delete Share).

        One that is gone when the request is repeated after a lost answer counts as deleted.

        Raises:
            ShareNotFound: it does not exist.
            ShareConflict: it has snapshots, and they were not to be deleted with it.
            LeaseIdMissing: it is leased.
        """
        snapshots = {"x-ms-delete-snapshots": "include"} if delete_snapshots else {}
        call = self._call(
            "DeleteShare",
            "DELETE",
            Target.SHARE,
            None,
            headers={**snapshots, **lease_headers(lease_id)},
            success=frozenset({202}),
            mutates=True,
        )
        try:
            await self._send(call)
        except ShareNotFound as error:
            if not error.may_have_been_applied:
                raise

    async def get_share_properties(
        self, *, lease_id: str | None = None, snapshot: str | None = None
    ) -> ShareProperties:
        """Return quota, metadata and lease state (Get Share Properties).

        Raises:
            ShareNotFound: it does not exist.
            LeaseIdMismatch: the lease id is not the active one.
        """
        call = self._call(
            "GetShareProperties",
            "GET",
            Target.SHARE,
            None,
            query={"sharesnapshot": snapshot},
            headers=lease_headers(lease_id),
        )
        return await self._ask(call, share_properties_of)

    async def set_share_properties(self, *, quota_gib: int, lease_id: str | None = None) -> str:
        """Set the quota and return the new ETag (Set Share Properties).

        Raises:
            ShareNotFound: it does not exist.
            LeaseIdMissing: it is leased.
        """
        call = self._call(
            "SetShareProperties",
            "PUT",
            Target.SHARE,
            None,
            query={"comp": "properties"},
            headers={**_quota(quota_gib), **lease_headers(lease_id)},
            mutates=True,
        )
        return await self._ask(call, _etag)

    async def set_share_metadata(
        self, metadata: Mapping[str, str], *, lease_id: str | None = None
    ) -> str:
        """Replace the metadata of the share and return the new ETag (Set Share Metadata).

        Raises:
            ShareNotFound: it does not exist.
            InvalidRequest: a name or value cannot be sent.
            LeaseIdMissing: it is leased.
        """
        call = self._call(
            "SetShareMetadata",
            "PUT",
            Target.SHARE,
            None,
            query={"comp": "metadata"},
            headers={**metadata_headers(metadata), **lease_headers(lease_id)},
            mutates=True,
        )
        return await self._ask(call, _etag)

    async def get_share_statistics(self) -> int:
        """Return the bytes that the share uses, about (Get Share Stats).

        Raises:
            ShareNotFound: it does not exist.
            ProtocolError: the answer has no number.
        """
        call = self._call("GetShareStats", "GET", Target.SHARE, None, query={"comp": "stats"})
        return await self._ask(call, _used_bytes)

    async def create_snapshot(self, metadata: Mapping[str, str] | None = None) -> str:
        """Take a snapshot and return its name, to be passed as ``snapshot`` (Snapshot Share).

        After a lost answer it is taken again; then there may be two.

        Raises:
            ShareNotFound: it does not exist.
            ShareConflict: another is being taken, or there are 200.
        """
        call = self._call(
            "SnapshotShare",
            "PUT",
            Target.SHARE,
            None,
            query={"comp": "snapshot"},
            headers=metadata_headers(metadata),
            success=frozenset({201}),
            mutates=True,
        )
        return await self._ask(call, lambda answer: required(answer.headers, "x-ms-snapshot", str))


def _etag(answer: WireAnswer) -> str:
    return etag_of_answer(answer.headers)


def _used_bytes(answer: WireAnswer) -> int:
    text = parse_document(bytes(answer.body)).text_of("ShareUsageBytes") or ""
    try:
        return number(text)
    except ValueError as error:
        raise ProtocolError("the answer does not say what the share uses") from error


def _quota(quota_gib: int | None) -> dict[str, str]:
    return {} if quota_gib is None else {"x-ms-share-quota": str(quota_gib)}
