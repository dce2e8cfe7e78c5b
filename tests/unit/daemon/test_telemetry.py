"""What the layers report becomes metrics and log lines."""

import errno
import logging
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from azfilesfs.client import AttemptEvent, BreakerState, RetryEvent
from azfilesfs.config.exit_codes import CommandFailed
from azfilesfs.config.mount import MountConfig, build_mount
from azfilesfs.daemon.telemetry import ClientReporter, Telemetry
from azfilesfs.errors import FileNotFound, ServerBusy
from azfilesfs.fuse.guard import ignore_measurement
from azfilesfs.obs.logs import TRACE
from azfilesfs.obs.metrics import Gauges, Metrics
from azfilesfs.vfs.locks.observer import NoLockObserver


def event(**changes: Any) -> AttemptEvent:
    """Make an event of a request that went well."""
    facts: dict[str, Any] = {
        "operation": "PutRange",
        "share": "share",
        "path": "a/b",
        "status": 201,
        "error": None,
        "seconds": 0.25,
        "bytes_sent": 10,
        "bytes_received": 3,
        "request_id": "r-1",
        "attempt": 1,
    }
    return AttemptEvent(**(facts | changes))


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a sample of a registry."""
    return metrics.registry.get_sample_value(name, labels)


def test_requests_are_counted():
    """An attempt counts its bytes, an operation its outcome, a repetition itself."""
    metrics = Metrics("share")
    reporter = ClientReporter(metrics)
    reporter.attempt_finished(event())
    reporter.operation_finished(event())
    reporter.operation_finished(event(status=404, error=FileNotFound("x")))
    reporter.operation_finished(event(status=None, cancelled=True))
    reporter.breaker_changed(BreakerState.CLOSED)

    for status in ("201", "404", "cancelled"):
        labels = {"share": "share", "operation": "PutRange", "status": status}
        assert value(metrics, "azure_files_operations_total", **labels) == 1
    sent = value(metrics, "azure_files_bytes_total", share="share", direction="sent")
    failed = {"operation": "PutRange", "error_type": "FileNotFound"}
    assert sent == 10
    assert value(metrics, "azure_files_errors_total", **failed) == 1


@pytest.mark.expect_log("is repeated|the circuit")
def test_what_is_logged(caplog):
    """Each kind of event has its level and says what it is about."""
    caplog.set_level(TRACE)
    reporter = ClientReporter(None)
    retry = RetryEvent(
        operation="GetFile", share="s", path=None, attempt=1, delay=1.5, error=ServerBusy("busy")
    )
    reporter.attempt_finished(event())
    reporter.attempt_finished(event(operation="SetFileProperties"))
    reporter.operation_finished(event(status=None, error=ServerBusy("busy")))
    reporter.operation_finished(event(cancelled=True))
    reporter.retrying(retry)
    reporter.breaker_changed(BreakerState.OPEN)
    reporter.credentials_refreshed(changed=True)
    reporter.version_changed("2023-11-03")

    levels = [record.levelno for record in caplog.records]
    assert levels == [TRACE, logging.DEBUG, *[logging.INFO] * 2, *[logging.WARNING] * 2, 20, 20]
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("attempt 1 of PutRange a/b: 201, 10 bytes out, 3 in")
    assert "no answer ServerBusy" in lines[2]
    assert "cancelled" in lines[3]
    assert lines[4] == "GetFile / is repeated in 1.5 s: busy"
    assert "2023-11-03" in lines[7]


@pytest.fixture
def config(tmp_path: Path) -> MountConfig:
    """Make a configuration with metrics on a free port."""
    flags = {"metrics": "127.0.0.1:0"}
    return build_mount("share", str(tmp_path), flags, {"HOME": str(tmp_path)})


async def test_the_kernels_operations(config: MountConfig):
    """Operations of the kernel are counted with their errno."""
    async with Telemetry.open(config) as telemetry:
        telemetry.kernel("read", 0.1, 0)
        telemetry.kernel("lookup", 0.1, errno.ENOENT)
        telemetry.kernel("lookup", 0.1, 99999)
        metrics = telemetry.client._metrics
        assert metrics is not None

    count = "azfilesfs_fuse_operation_seconds_count"
    assert value(metrics, count, operation="lookup") == 2
    for name in ("ENOENT", "99999"):
        assert value(metrics, "azfilesfs_fuse_errors_total", operation="lookup", errno=name) == 1


async def test_without_metrics(tmp_path: Path):
    """Nothing is measured that nobody asks for."""
    config = build_mount("share", str(tmp_path), {}, {"HOME": str(tmp_path)})
    async with Telemetry.open(config) as telemetry:
        assert telemetry.kernel is ignore_measurement


async def test_a_taken_address(config: MountConfig, tmp_path: Path, caplog):
    """An address that another uses is one line, not a traceback."""
    caplog.set_level(logging.INFO, "azfilesfs")
    async with Telemetry.open(config):
        port = caplog.records[-1].getMessage().split()[-1]
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()
        flags = {"metrics": f"127.0.0.1:{port}"}
        other = build_mount("share", str(tmp_path), flags, {"HOME": str(tmp_path)})
        with pytest.raises(CommandFailed, match="metrics cannot be served"):
            async with Telemetry.open(other):
                pytest.fail("two listen on one port")


def test_locks_are_counted():
    """Leases, waiters, how long they waited, takeovers and losses."""
    metrics = Metrics("share")
    locks = Telemetry(metrics).locks
    locks.leases_changed(2)
    locks.leases_changed(-1)
    locks.waiters_changed(3)
    locks.waiters_changed(-1)
    locks.waited(0.5, granted=True)
    locks.waited(2.0, granted=True)
    locks.taken_over()
    locks.lost(4)

    metrics.read_at_scrape(lambda: Gauges({}, {}))
    assert value(metrics, "azure_files_active_leases", share="share") == 1
    assert value(metrics, "azfilesfs_lock_waiters") == 2
    assert value(metrics, "azfilesfs_lock_wait_seconds_sum", outcome="granted") == 2.5
    assert value(metrics, "azfilesfs_lock_wait_seconds_count", outcome="refused") == 0
    locks.waited(7.0, granted=False)
    assert value(metrics, "azfilesfs_lock_wait_seconds_sum", outcome="refused") == 7
    assert value(metrics, "azfilesfs_lock_takeovers_total") == 1
    assert value(metrics, "azfilesfs_locks_lost_total") == 4


def test_locks_without_metrics():
    """Nothing is counted, and nothing fails."""
    assert isinstance(Telemetry(None).locks, NoLockObserver)
