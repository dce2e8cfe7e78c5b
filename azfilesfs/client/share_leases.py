"""Leases on the share itself: 15 to 60 seconds or infinite, with renewal (rest.md section 4.2).

They keep others from deleting the share and from setting its properties, not from its files.
"""

from __future__ import annotations

import uuid

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import Target, lease_headers
from azfilesfs.client.responses import (
    FileLease,
    etag_of_answer,
    number,
    optional,
    required,
    service_time,
)
from azfilesfs.client.timeouts import Budget
from azfilesfs.client.transport import WireAnswer
from azfilesfs.errors import LeaseIdMismatch, LeaseNotPresent
from azfilesfs.model.limits import INFINITE_LEASE, SHARE_LEASE_SECONDS


class ShareLeaseOperations(ShareOperations):
    """The lease on one share."""

    async def acquire_share_lease(
        self, duration: int = INFINITE_LEASE, proposed_id: str | None = None
    ) -> FileLease:
        """Acquire the lease on the share (Lease Share, acquire).

        Args:
            duration: 15 to 60 seconds, or -1 for an infinite lease.
            proposed_id: a GUID; a random one by default. An id is always proposed, so that a
                repetition gives the same lease.

        Raises:
            LeaseAlreadyPresent: another id holds the lease.
            ShareNotFound: the share does not exist.
            ValueError: the duration is not one of those.
        """
        shortest, longest = SHARE_LEASE_SECONDS
        if duration != INFINITE_LEASE and not shortest <= duration <= longest:
            raise ValueError(
                f"a share is leased for {shortest} to {longest} seconds, or -1 for ever"
            )
        headers = {
            "x-ms-lease-duration": str(duration),
            "x-ms-proposed-lease-id": proposed_id or str(uuid.uuid4()),
        }
        return _lease(await self._lease_share("acquire", headers, 201))

    async def renew_share_lease(self, lease_id: str) -> FileLease:
        """Start the lease's duration anew (Lease Share, renew).

        Raises:
            LeaseIdMismatch: the lease is another's.
            LeaseNotPresent, LeaseExpired: there is nothing to renew.
        """
        return _lease(await self._lease_share("renew", lease_headers(lease_id), 200))

    async def change_share_lease(self, lease_id: str, proposed_id: str) -> FileLease:
        """Give the active lease another id (Lease Share, change).

        Raises:
            LeaseIdMismatch: neither id is the active one.
            LeaseNotPresent: there is no active lease.
        """
        headers = {**lease_headers(lease_id), "x-ms-proposed-lease-id": proposed_id}
        return _lease(await self._lease_share("change", headers, 200))

    async def release_share_lease(self, lease_id: str) -> None:
        """Give the lease up (Lease Share, release).

        One that is gone when the request is repeated after a lost answer counts as released.

        Raises:
            LeaseNotPresent: there is no lease.
            LeaseIdMismatch: the lease is another's.
        """
        try:
            await self._lease_share("release", lease_headers(lease_id), 200)
        except (LeaseNotPresent, LeaseIdMismatch) as error:
            if not error.may_have_been_applied:
                raise

    async def break_share_lease(self, break_period: int | None = None) -> int:
        """End the lease, whoever holds it, after a period (Lease Share, break).

        Args:
            break_period: 0 to 60 seconds; None for the rest of a fixed duration, at once for an
                infinite one.

        Returns:
            Seconds until another can acquire it.

        Raises:
            LeaseNotPresent: there is none.
            ValueError: the period is out of range.
        """
        if break_period is not None and not 0 <= break_period <= SHARE_LEASE_SECONDS[1]:
            raise ValueError(f"a lease breaks within 0 to {SHARE_LEASE_SECONDS[1]} seconds")
        headers = {} if break_period is None else {"x-ms-lease-break-period": str(break_period)}
        answer = await self._lease_share("break", headers, 202)
        return optional(answer.headers, "x-ms-lease-time", number) or 0

    async def _lease_share(self, action: str, headers: dict[str, str], status: int) -> WireAnswer:
        return await self._send(
            self._call(
                "LeaseShare",
                "PUT",
                Target.SHARE,
                None,
                query={"comp": "lease"},
                headers={"x-ms-lease-action": action, **headers},
                success=frozenset({status}),
                budget=Budget.LEASE,
                mutates=True,
            )
        )


def _lease(answer: WireAnswer) -> FileLease:
    return FileLease(
        lease_id=required(answer.headers, "x-ms-lease-id", str),
        etag=etag_of_answer(answer.headers),
        service_time_ns=service_time(answer.headers),
    )
