"""Filesystems over an emulator in process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from trio.testing import MockClock

from azfilesfs.client import ShareClient
from azfilesfs.emulator.app import EmulatorApp
from tests.unit.vfs import harness
from tests.unit.vfs.harness import Program

Mounter = Callable[..., AbstractAsyncContextManager[Program]]


@pytest.fixture
def clock() -> MockClock:
    """Return a clock that stands still until a test lets time pass."""
    return MockClock()


@pytest.fixture
def app() -> EmulatorApp:
    """Return an emulator with the share that everything here uses."""
    return harness.make_app()


@pytest.fixture
def mount(app: EmulatorApp, tmp_path: Path) -> Mounter:
    """Return a context manager that runs a filesystem over the share; each has its own state."""
    count = 0

    def mount(**options) -> AbstractAsyncContextManager[Program]:
        nonlocal count
        count += 1
        directory = options.pop("directory", tmp_path / f"mount{count}")
        return harness.mounted(options.pop("app", app), directory, **options)

    return mount


@pytest.fixture
async def host(app: EmulatorApp) -> AsyncIterator[ShareClient]:
    """Return another host's client of the share."""
    async with harness.other_client(app) as share:
        yield share


@pytest.fixture
async def program(mount: Mounter) -> AsyncIterator[Program]:
    """Return a program on one mount."""
    async with mount() as program:
        yield program
