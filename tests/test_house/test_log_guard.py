"""The guard that makes unannounced warnings fail a test."""

import logging

import pytest

from tests.conftest import LogGuard


def test_unannounced_warning_is_unexpected(log_guard: LogGuard):
    """A warning that the test did not announce is reported with level, logger and text."""
    logging.getLogger("azfilesfs.somewhere").warning("lost %s", "a block")

    assert log_guard.unexpected() == ["WARNING azfilesfs.somewhere: lost a block"]
    log_guard.allow("lost a block")
    assert log_guard.unexpected() == []


@pytest.mark.expect_log(r"expected \d+")
def test_marker_announces_by_pattern(log_guard: LogGuard):
    """The marker allows matching records, and nothing below WARNING is looked at."""
    logging.getLogger("azfilesfs").error("expected 5 things")
    logging.getLogger("azfilesfs").info("harmless")

    assert [record.getMessage() for record in log_guard.records] == ["expected 5 things"]
    assert log_guard.unexpected() == []
