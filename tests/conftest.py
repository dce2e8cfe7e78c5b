"""House rules for every test: a clean environment, no unexpected log records, no mounts left.

Fixtures for one layer or one kind of test stand in the conftest of its own folder.
"""

import logging
import os
import re
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import features

SCRUBBED = re.compile(
    r"(AZURE_STORAGE|AZFILESFS|XDG)_.*|(HTTP|HTTPS|ALL|NO)_PROXY|(http|https|all|no)_proxy"
)
KEPT = re.compile(r"AZFILESFS_TEST_.*")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch for the long forms."""
    parser.addoption("--soak", action="store_true", help="also run the tests marked soak")


def pytest_configure() -> None:
    """Remove what would steer the code under test, before any fixture of any scope runs."""
    for name in list(os.environ):
        if SCRUBBED.fullmatch(name) and not KEPT.fullmatch(name):
            del os.environ[name]


def pytest_report_header() -> list[str]:
    """Name the features that decide which tests run."""
    reasons = {
        "fuse": features.fuse_missing(),
        "rclone": features.rclone_missing(),
        "sdk": features.sdk_missing(),
        "recordings": features.recordings_missing(),
        "live": features.live_missing(),
    }
    return [f"{name}: {f'no, {why}' if why else 'yes'}" for name, why in reasons.items()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what the machine or the command line excludes, naming the missing thing."""
    reasons = {
        "mount": features.fuse_missing(),
        "live": features.live_missing(),
        "soak": None if config.getoption("--soak") else "needs --soak",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped mount test into a failure in CI: there, an absent /dev/fuse is a defect."""
    report = yield
    in_ci = os.environ.get("CI") == "true"
    soaking = item.get_closest_marker("soak") and not item.config.getoption("--soak")
    if in_ci and report.skipped and item.get_closest_marker("mount") and not soaking:
        report.outcome = "failed"
        report.longrepr = f"mount test skipped in CI: {report.longrepr}"
    return report


class LogGuard(logging.Handler):
    """Collect what azfilesfs logs at WARNING or above while a test runs."""

    def __init__(self, allowed: list[str]) -> None:
        """Start with the patterns that the test's markers allow."""
        super().__init__(logging.WARNING)
        self.allowed = allowed
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record for the end of the test."""
        self.records.append(record)

    def allow(self, pattern: str) -> None:
        """Allow records whose message matches the pattern somewhere."""
        self.allowed.append(pattern)

    def unexpected(self) -> list[str]:
        """Return the records that nothing allows, one line each."""
        return [
            f"{record.levelname} {record.name}: {record.getMessage()}"
            for record in self.records
            if not any(re.search(pattern, record.getMessage()) for pattern in self.allowed)
        ]


@pytest.fixture(autouse=True)
def log_guard(request: pytest.FixtureRequest) -> Iterator[LogGuard]:
    """Fail the test whose code logs a warning or an error that the test did not announce."""
    marks = request.node.iter_markers("expect_log")
    guard = LogGuard([pattern for mark in marks for pattern in mark.args])
    logger = logging.getLogger("azfilesfs")
    logger.addHandler(guard)
    try:
        yield guard
    finally:
        logger.removeHandler(guard)
    unexpected = guard.unexpected()
    if unexpected:
        pytest.fail("unexpected log records:\n" + "\n".join(unexpected), pytrace=False)


def fuse_mounts_below(folder: Path) -> list[Path]:
    """Return the mountpoints of FUSE filesystems below the folder, innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        escaped = fields.split(" ")[4].encode()
        path = Path(os.fsdecode(re.sub(rb"\\(\d{3})", lambda m: bytes([int(m[1], 8)]), escaped)))
        if source.startswith("fuse") and path.is_relative_to(folder):
            found.append(path)
    return sorted(found, reverse=True)


def is_run_alive(basetemp: Path) -> bool:
    """Tell whether the pytest that made this base directory still runs, by the pid in its lock."""
    try:
        pid = int((basetemp / ".lock").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return False
    return True


def detach(mountpoint: Path) -> None:
    """Detach a mountpoint, whatever still uses it."""
    subprocess.run(["fusermount3", "-u", "-z", "--", mountpoint], check=False, timeout=30)


@pytest.fixture(scope="session", autouse=True)
def no_stale_mounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Detach what aborted runs left mounted, and fail if this run leaves a mount itself."""
    own = tmp_path_factory.getbasetemp()
    family = next((p for p in own.parents if p.name.startswith("pytest-of-")), own)
    for mountpoint in fuse_mounts_below(family):
        run = family / mountpoint.relative_to(family).parts[0]
        if not own.is_relative_to(run) and not is_run_alive(run):
            detach(mountpoint)
    yield
    left = fuse_mounts_below(own)
    for mountpoint in left:
        detach(mountpoint)
    assert not left, f"mounts left behind: {left}"
