"""The world of one test: an emulator, to be mounted by as many hosts as the test needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.semantics.harness import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a service with one empty share, named demo."""
    made = World(tmp_path)
    yield made
    made.app.close()
