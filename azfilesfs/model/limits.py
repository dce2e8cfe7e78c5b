"""Sizes and limits of the service (rest.md sections 3 and 9), in bytes unless named otherwise."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIB: Final = 1024 * GIB

RANGE_BYTES: Final = 4 * MIB
"""Largest body of one Put Range, and of a Create File with data."""

MD5_RANGE_BYTES: Final = 4 * MIB
"""Largest Get File range for which the service computes an MD5."""

FILE_BYTES: Final = 4 * TIB
LIST_PAGE_ENTRIES: Final = 5000
COMPONENT_UNITS: Final = 255
"""Longest name, in UTF-16 code units."""

PATH_UNITS: Final = 2048
"""Longest path inside a share, separators included, in UTF-16 code units."""

PATH_DEPTH: Final = 250
METADATA_BYTES: Final = 8 * KIB
SHARE_LEASE_SECONDS: Final = (15, 60)
INFINITE_LEASE: Final = -1
