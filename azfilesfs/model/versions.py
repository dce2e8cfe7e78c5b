"""Service versions that we know, what each brings, and the validator of a file's content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

SERVICE_VERSIONS: Final = (
    "2026-10-06",
    "2026-06-06",
    "2026-04-06",
    "2026-02-06",
    "2025-11-05",
    "2025-07-05",
    "2025-05-05",
    "2025-01-05",
    "2024-11-04",
    "2024-08-04",
    "2024-05-04",
    "2023-11-03",
)
"""Newest first; a client steps down this list when the service refuses a version."""

NEWEST: Final = SERVICE_VERSIONS[0]
OLDEST: Final = SERVICE_VERSIONS[-1]
CREATE_WITH_DATA_SINCE: Final = "2026-06-06"
PAGED_RANGES_SINCE: Final = "2026-10-06"


def has_create_with_data(version: str) -> bool:
    """Tell whether Create File takes a body of up to 4 MiB."""
    return version >= CREATE_WITH_DATA_SINCE


def next_older(version: str) -> str | None:
    """Return the newest known version older than ``version``, None where there is none."""
    return next((known for known in SERVICE_VERSIONS if known < version), None)


class Validator(NamedTuple):
    """What identifies one version of a file's content.

    The ETag alone is a time stamp that can repeat and can be set by a client; overwriting keeps the
    file id, replacing changes it (rest.md section 5.3). Only together do they tell versions apart.
    """

    file_id: int
    etag: str
    size: int
    change_time_ns: int

    def key(self) -> str:
        """Return a text that names this version, for cache keys."""
        return f"{self.file_id:x}.{self.etag.strip(chr(34))}.{self.size:x}.{self.change_time_ns:x}"


@dataclass(frozen=True, slots=True)
class PartialValidator:
    """What one answer says of a version; a field that the answer lacks is None."""

    file_id: int | None = None
    etag: str | None = None
    size: int | None = None
    change_time_ns: int | None = None

    def contradicts(self, validator: Validator) -> bool:
        """Tell whether a field that both have differs."""
        return (
            (self.file_id is not None and self.file_id != validator.file_id)
            or (self.etag is not None and self.etag != validator.etag)
            or (self.size is not None and self.size != validator.size)
            or (self.change_time_ns is not None and self.change_time_ns != validator.change_time_ns)
        )
