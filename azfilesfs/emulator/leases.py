"""Leases: the infinite ones of files, those of shares with durations (rest.md section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from azfilesfs.emulator.errors import ServiceError
from azfilesfs.model.times import NS_PER_SECOND

INFINITE: Final = -1


@dataclass(slots=True)
class FileLease:
    """The lease of one file: ``available``, ``leased`` or ``broken``."""

    state: str = "available"
    id: str = ""

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that Get File and Get File Properties show."""
        if self.state == "leased":
            return [
                ("x-ms-lease-status", "locked"),
                ("x-ms-lease-state", "leased"),
                ("x-ms-lease-duration", "infinite"),
            ]
        return [("x-ms-lease-status", "unlocked"), ("x-ms-lease-state", self.state)]

    def acquire(self, lease_id: str) -> None:
        """Take the lease, or confirm it under the same id.

        Raises:
            ServiceError: LeaseAlreadyPresent.
        """
        if self.state == "leased" and self.id != lease_id:
            raise ServiceError("LeaseAlreadyPresent")
        self.state, self.id = "leased", lease_id

    def change(self, lease_id: str, proposed: str) -> None:
        """Change the id; repeating a change that already happened succeeds.

        Raises:
            ServiceError: there is no lease, or another one.
        """
        if self.state != "leased":
            raise ServiceError("LeaseNotPresentWithLeaseOperation")
        if self.id not in {lease_id, proposed}:
            raise ServiceError("LeaseIdMismatchWithLeaseOperation")
        self.id = proposed

    def release(self, lease_id: str) -> None:
        """Give the lease back; a broken one may still be released by its id.

        Raises:
            ServiceError: there is no lease, or another one.
        """
        if self.state == "available":
            raise ServiceError("LeaseNotPresentWithLeaseOperation")
        if self.id != lease_id:
            raise ServiceError("LeaseIdMismatchWithLeaseOperation")
        self.state, self.id = "available", ""

    def break_(self, lease_id: str | None) -> None:
        """Break the lease at once; anyone may, without an id.

        Raises:
            ServiceError: there is no lease, or the id given is another one's.
        """
        if self.state == "available":
            raise ServiceError("LeaseNotPresentWithLeaseOperation")
        if lease_id is not None and lease_id != self.id:
            raise ServiceError("LeaseIdMismatchWithLeaseOperation")
        self.state = "broken"

    def check(self, lease_id: str | None, *, writes: bool) -> None:
        """Check the id that a request on the file carries.

        Raises:
            ServiceError: 412 with the code for missing, wrong or superfluous.
        """
        if self.state == "leased":
            if lease_id is None:
                if writes:
                    raise ServiceError(
                        "LeaseIdMissing",
                        message="There is currently a lease on the file and no lease ID was "
                        "specified in the request.",
                    )
            elif lease_id != self.id:
                raise ServiceError("LeaseIdMismatchWithFileOperation")
        elif lease_id is not None:
            raise ServiceError("LeaseNotPresentWithFileOperation")


@dataclass(slots=True)
class ShareLease:
    """The lease of one share: ``available``, ``leased``, ``breaking``, ``broken`` or ``expired``.

    Attributes:
        duration: seconds, -1 for infinite.
        until: when it expires (leased) or is broken (breaking), Unix nanoseconds; None for never.
    """

    state: str = "available"
    id: str = ""
    duration: int = INFINITE
    until: int | None = None

    def settle(self, now: int) -> None:
        """Let time pass: a lease whose end lies behind us expires, a break becomes complete."""
        if self.until is not None and now >= self.until:
            if self.state == "leased":
                self.state, self.until = "expired", None
            elif self.state == "breaking":
                self.state, self.until = "broken", None

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that Get Share Properties shows."""
        locked = self.state in {"leased", "breaking"}
        fields = [
            ("x-ms-lease-status", "locked" if locked else "unlocked"),
            ("x-ms-lease-state", self.state),
        ]
        if self.state == "leased":
            fields.append(("x-ms-lease-duration", self.kind))
        return fields

    @property
    def kind(self) -> str:
        """``infinite`` or ``fixed``."""
        return "infinite" if self.duration == INFINITE else "fixed"

    def acquire(self, lease_id: str, duration: int, now: int) -> None:
        """Take the lease, or take it anew under the same id.

        Raises:
            ServiceError: LeaseAlreadyPresent, or the lease is being broken.
        """
        if self.state == "leased" and self.id != lease_id:
            raise ServiceError("LeaseAlreadyPresent")
        if self.state == "breaking":
            same = self.id == lease_id
            raise ServiceError(
                "LeaseIsBreakingAndCannotBeAcquired" if same else "LeaseAlreadyPresent"
            )
        self.state, self.id, self.duration = "leased", lease_id, duration
        self._start(now)

    def _start(self, now: int) -> None:
        infinite = self.duration == INFINITE
        self.until = None if infinite else now + self.duration * NS_PER_SECOND

    def renew(self, lease_id: str, now: int) -> None:
        """Start the duration again; an expired lease that nobody took comes back.

        Raises:
            ServiceError: there is no such lease, or it is broken.
        """
        self._require(lease_id)
        if self.state in {"breaking", "broken"}:
            raise ServiceError("LeaseIsBrokenAndCannotBeRenewed")
        self.state = "leased"
        self._start(now)

    def change(self, lease_id: str, proposed: str) -> None:
        """Change the id.

        Raises:
            ServiceError: there is no such lease, or it is no longer whole.
        """
        if self.state == "leased" and self.id == proposed:
            return
        self._require(lease_id)
        if self.state == "breaking":
            raise ServiceError("LeaseIsBreakingAndCannotBeChanged")
        if self.state != "leased":
            raise ServiceError("LeaseNotPresentWithLeaseOperation")
        self.id = proposed

    def release(self, lease_id: str) -> None:
        """Give the lease back.

        Raises:
            ServiceError: there is no such lease.
        """
        self._require(lease_id)
        self.state, self.id, self.until = "available", "", None

    def break_(self, period: int | None, now: int) -> int:
        """Break the lease and return the seconds until it is broken.

        Args:
            period: seconds to wait; None for the rest of a fixed lease, none of an infinite one.
            now: Unix nanoseconds.

        Raises:
            ServiceError: there is no lease.
        """
        if self.state == "available":
            raise ServiceError("LeaseNotPresentWithLeaseOperation")
        if self.state in {"broken", "expired"}:
            self.state, self.until = "broken", None
            return 0
        remaining = 0 if self.until is None else -(-(self.until - now) // NS_PER_SECOND)
        if period is None:
            seconds = remaining
        else:
            seconds = period if self.until is None else min(period, remaining)
        self.state = "breaking" if seconds else "broken"
        self.until = now + seconds * NS_PER_SECOND if seconds else None
        return seconds

    def _require(self, lease_id: str) -> None:
        if self.state == "available":
            raise ServiceError("LeaseNotPresentWithLeaseOperation")
        if self.id != lease_id:
            raise ServiceError("LeaseIdMismatchWithLeaseOperation")

    def check(self, lease_id: str | None, *, writes: bool) -> None:
        """Check the id that a request on the share carries.

        Raises:
            ServiceError: 412 with the code for missing, wrong, lost or superfluous.
        """
        if self.state in {"leased", "breaking"}:
            if lease_id is None:
                if writes:
                    raise ServiceError(
                        "LeaseIdMissing",
                        message="There is currently a lease on the file share and no lease ID was "
                        "specified in the request.",
                    )
            elif lease_id != self.id:
                raise ServiceError("LeaseIdMismatchWithContainerOperation")
        elif lease_id is not None:
            if self.state in {"expired", "broken"} and lease_id == self.id:
                raise ServiceError(
                    "LeaseLost",
                    message="A lease ID was specified, but the lease for the file share has "
                    "expired.",
                )
            raise ServiceError("LeaseNotPresentWithContainerOperation")
