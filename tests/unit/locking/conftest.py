"""A service in simulated time, a file on it, and threads that take none."""

import pytest
import trio

from tests.unit.locking.harness import locking_app
from tests.unit.vfs.harness import other_client, put


@pytest.fixture(autouse=True)
def inline_threads(monkeypatch):
    """Do in the event loop what threads do: simulated time does not wait for them."""

    async def run_sync(work, *arguments, **_options):
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@pytest.fixture
async def app():
    """Give a share with a file."""
    made = locking_app()
    async with other_client(made) as share:
        await put(share, "file", b"0" * 10)
    return made
