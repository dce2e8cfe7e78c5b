"""User metadata: what a request carries, what an answer shows."""

from __future__ import annotations

import re

from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.request import Request
from azfilesfs.model.limits import METADATA_BYTES

_NAME = re.compile(r"[^\W\d]\w*")


def parse_metadata(request: Request) -> dict[str, str]:
    """Return the metadata of a request, names as spelled.

    Raises:
        ServiceError: EmptyMetadataKey, InvalidMetadata or MetadataTooLarge.
    """
    metadata: dict[str, str] = {}
    size = 0
    for name, spelled in request.metadata_names.items():
        value = request.headers[f"x-ms-meta-{name}"]
        if not name:
            raise ServiceError("EmptyMetadataKey", extras={"MetadataValue": value})
        if not _NAME.fullmatch(name):
            raise ServiceError("InvalidMetadata", extras={"MetadataValue": value})
        size += len(name) + len(value)
        metadata[spelled] = value
    if size > METADATA_BYTES:
        raise ServiceError("MetadataTooLarge")
    return metadata


def metadata_headers(metadata: dict[str, str]) -> list[tuple[str, str]]:
    """Return metadata as headers."""
    return [(f"x-ms-meta-{name}", value) for name, value in metadata.items()]
