"""The world of one test, as for the semantics, and a reader of the log."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Journal
from tests.semantics.harness import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a service with one empty share, named demo."""
    made = World(tmp_path)
    yield made
    made.app.close()


@pytest.fixture
def journal(caplog: pytest.LogCaptureFixture) -> Journal:
    """Give what is logged, at all levels."""
    caplog.set_level(logging.DEBUG, "azfilesfs")
    return Journal(caplog)
