"""Serving the metrics over HTTP, in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from azfilesfs.obs.metrics import Metrics


@contextmanager
def exported(metrics: Metrics, host: str, port: int) -> Iterator[int]:
    """Serve the metrics while the block runs; the result is the port.

    Raises:
        OSError: the address is taken or not ours.
    """
    server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
