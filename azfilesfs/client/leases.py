"""Leases on files, as the service has them: infinite, without renewal (rest.md section 4.1)."""

from __future__ import annotations

import uuid

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import Target, lease_headers
from azfilesfs.client.responses import FileLease, etag_of_answer, required, service_time
from azfilesfs.client.timeouts import Budget
from azfilesfs.client.transport import WireAnswer
from azfilesfs.errors import LeaseIdMismatch, LeaseNotPresent
from azfilesfs.model.limits import INFINITE_LEASE
from azfilesfs.model.paths import SharePath


class LeaseOperations(ShareOperations):
    """Leases on the files of one share."""

    async def acquire_file_lease(
        self, path: SharePath, proposed_id: str | None = None, *, retry: bool = True
    ) -> FileLease:
        """Acquire the lease on a file (Lease File, acquire).

        An id is always proposed, so that a repetition after a lost answer gives the same lease. A
        repetition can arrive late, after the lease was released, and lease the file again; who
        cannot have that passes ``retry=False``: then nothing is repeated but what the service has
        refused without effect (credential, version).

        Args:
            path: the file.
            proposed_id: a GUID; a random one by default.
            retry: whether a failed attempt may be repeated.

        Raises:
            LeaseAlreadyPresent: another id holds the lease.
            FileNotFound: the file does not exist.
            InvalidRequest: the id is not a GUID.
        """
        headers = {
            "x-ms-lease-duration": str(INFINITE_LEASE),
            "x-ms-proposed-lease-id": proposed_id or str(uuid.uuid4()),
        }
        return _lease(await self._lease_file(path, "acquire", headers, 201, retry=retry))

    async def change_file_lease(
        self, path: SharePath, lease_id: str, proposed_id: str, *, retry: bool = True
    ) -> FileLease:
        """Give an active lease another id in one step (Lease File, change).

        Repeating it after a lost answer gives the same lease; for ``retry`` see
        ``acquire_file_lease``.

        Raises:
            LeaseIdMismatch: neither id is the active one.
            LeaseNotPresent: there is no active lease.
            FileNotFound: the file does not exist.
        """
        headers = {**lease_headers(lease_id), "x-ms-proposed-lease-id": proposed_id}
        return _lease(await self._lease_file(path, "change", headers, 200, retry=retry))

    async def release_file_lease(self, path: SharePath, lease_id: str) -> None:
        """Give a lease up (Lease File, release).

        One that is gone when the request is repeated after a lost answer counts as released.

        Raises:
            LeaseNotPresent: there is no lease.
            LeaseIdMismatch: the lease is another's.
            FileNotFound: the file does not exist.
        """
        try:
            await self._lease_file(path, "release", lease_headers(lease_id), 200)
        except (LeaseNotPresent, LeaseIdMismatch) as error:
            if not error.may_have_been_applied:
                raise

    async def break_file_lease(self, path: SharePath) -> None:
        """End whatever lease is on a file, at once (Lease File, break).

        Anyone who may write may do this.

        Raises:
            LeaseNotPresent: there is none; where it is gone after a lost answer, that counts as
                broken.
            FileNotFound: the file does not exist.
        """
        try:
            await self._lease_file(path, "break", {}, 202)
        except LeaseNotPresent as error:
            if not error.may_have_been_applied:
                raise

    def is_in_doubt(self, lease_id: str) -> bool:
        """Tell whether a fenced change that carried this id may still arrive at the service.

        Its answer was lost, or nobody waited for it. A late change is accepted as long as the id is
        the active one: so an id in doubt is not used again.
        """
        return lease_id in self._pipeline.doubtful_leases

    def forget_doubt(self, lease_id: str) -> None:
        """Drop what is remembered of an id that is never used again."""
        self._pipeline.doubtful_leases.discard(lease_id)

    async def _lease_file(
        self,
        path: SharePath,
        action: str,
        headers: dict[str, str],
        status: int,
        *,
        retry: bool = True,
    ) -> WireAnswer:
        return await self._send(
            self._call(
                "LeaseFile",
                "PUT",
                Target.FILE,
                path,
                query={"comp": "lease"},
                headers={"x-ms-lease-action": action, **headers},
                success=frozenset({status}),
                budget=Budget.LEASE,
                mutates=True,
                repeat=retry,
            )
        )


def _lease(answer: WireAnswer) -> FileLease:
    return FileLease(
        lease_id=required(answer.headers, "x-ms-lease-id", str),
        etag=etag_of_answer(answer.headers),
        service_time_ns=service_time(answer.headers),
    )
