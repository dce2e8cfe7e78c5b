"""The second client: plain REST with a signature in the URL, to see what others see."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from azfilesfs.client.credentials import SharedKeyCredential
from azfilesfs.client.sas import SasLimits, account_sas
from azfilesfs.client.secret import Secret
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from azfilesfs.model.versions import NEWEST
from scripts.bench.seed import SHARE

TIMEOUT: Final = 120.0
_LIFETIME: Final = timedelta(hours=12)


def make_signature() -> str:
    """Return a query that allows everything on the emulator's account for half a day."""
    credential = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))
    limits = SasLimits(expiry=datetime.now(UTC) + _LIFETIME)
    return account_sas(credential, "rwdlc", "sco", limits).query()


@dataclass(frozen=True, slots=True)
class Counts:
    """What the emulator has counted since the last reset; ``own`` requests were this client's."""

    operations: dict[str, int]
    received: int
    sent: int
    own: int = 0

    @property
    def requests(self) -> int:
        """How many requests of all kinds there were beside its own."""
        return sum(self.operations.values()) - self.own


class _Tally:
    """How many requests the second client has sent, over all its connections."""

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()

    def add(self, requests: int) -> None:
        with self._lock:
            self.requests += requests


class Rest:
    """A client on one connection, for one thread at a time."""

    def __init__(self, url: str, ca_file: Path, tally: _Tally | None = None) -> None:
        """Speak to ``https://HOST:PORT/ACCOUNT``."""
        parts = urlsplit(url)
        self._made_with = (url, ca_file)
        self._own = tally or _Tally()
        context = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, context=context, timeout=TIMEOUT
        )
        self._prefix = parts.path.rstrip("/")
        self.signature = make_signature()

    def another(self) -> Rest:
        """Return one on a connection of its own, whose requests count as this one's."""
        return Rest(*self._made_with, self._own)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def path(self, name: str, query: str = "") -> str:
        """Return the target of a file of the share, signed."""
        extra = f"{query}&" if query else ""
        return f"{self._prefix}/{SHARE}/{quote(name)}?{extra}{self.signature}"

    def ask(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; header names with ``_`` for ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent.setdefault("x-ms-version", NEWEST)
        self._own.add(1)
        self._connection.request(method, target, body or None, sent)
        answer = self._connection.getresponse()
        data = answer.read()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, fields, data

    def size(self, name: str) -> int | None:
        """Return the size of a file, None where there is none."""
        status, fields, _ = self.ask("HEAD", self.path(name))
        return int(fields["content-length"]) if status == 200 else None

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes of a file, nothing where there is none."""
        stop = "" if length is None else str(start + length - 1)
        status, _, data = self.ask("GET", self.path(name), x_ms_range=f"bytes={start}-{stop}")
        return data if status in {200, 206} else b""

    def create(self, name: str, size: int) -> None:
        """Make an empty file of that size."""
        status, _, data = self.ask(
            "PUT", self.path(name), x_ms_type="file", x_ms_content_length=str(size),
            Content_Length="0",
        )  # fmt: skip
        if status != 201:
            raise OSError(f"the emulator refuses to create {name}: {status} {data[:200]!r}")

    def make_directory(self, name: str) -> None:
        """Make a directory unless it is there."""
        self.ask("PUT", self.path(name, "restype=directory"), Content_Length="0")

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory if it is there."""
        self.ask("DELETE", self.path(name, "restype=directory"))

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""
        self.ask("DELETE", self.path(name))

    def control(self, method: str, name: str, document: object = None) -> Any:  # noqa: ANN401  # whatever JSON may hold
        """Use the emulator's control interface."""
        body = b"" if document is None else json.dumps(document).encode()
        _, _, data = self.ask(method, f"/_emulator/{name}", body)
        self._own.add(-1)  # these are not counted
        return json.loads(data)

    def set_latency(self, milliseconds: float) -> None:
        """Let every request take that much longer."""
        self.control("PUT", "network", {"latency": milliseconds / 1000})

    def reset_counts(self) -> None:
        """Count from zero."""
        self.control("DELETE", "requests")
        self._own.add(-self._own.requests)

    def counts(self) -> Counts:
        """Return what was counted."""
        found = self.control("GET", "requests")
        operations = {name: sum(by.values()) for name, by in found["operations"].items()}
        return Counts(operations, found["bytes"]["in"], found["bytes"]["out"], self._own.requests)
