"""One file moved by the official SDK; prints the seconds that it took, after a warm-up."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

from scripts.bench.seed import MIB, SHARE

AT_ONCE: Final = 8


def _move(client: Any, what: str, size: int) -> None:  # noqa: ANN401  # the SDK's types are partial
    if what == "read":
        got = client.download_file(max_concurrency=AT_ONCE).readinto(_Sink())
        if got != size:
            raise OSError(f"{got} bytes of {size}")
    else:
        client.upload_file(os.urandom(16 * MIB) * (size // (16 * MIB)), max_concurrency=AT_ONCE)


class _Sink:
    """A stream that forgets; downloads of several ranges at once seek in it."""

    def __init__(self) -> None:
        self._position = 0

    def write(self, data: bytes) -> int:
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True


def main() -> int:
    """Move it twice and print the seconds of the second time."""
    what, name, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    from azure.storage.fileshare import ShareFileClient

    with ShareFileClient.from_connection_string(
        os.environ["AZURE_STORAGE_CONNECTION_STRING"],
        SHARE,
        name,
        connection_verify=os.environ["AZFILESFS_CA_FILE"],
    ) as client:
        _move(client, what, min(size, 64 * MIB) if what == "write" else size)
        started = time.perf_counter()
        _move(client, what, size)
        print(time.perf_counter() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
