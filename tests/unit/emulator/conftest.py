"""Fixtures of the emulator's unit tests."""

import pytest

from tests.unit.emulator.harness import Caller, make_caller


@pytest.fixture
def call() -> Caller:
    """Return a caller of a new emulator with a share, its clock standing still."""
    return make_caller()
