"""A share on an emulator in this process, and kept records of files on it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from azfilesfs.client import (
    NO_RETRIES,
    ClientOptions,
    Endpoint,
    Secret,
    ShareClient,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
    asgi_transport,
)
from azfilesfs.emulator.app import EmulatorApp, create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.kept import KeptRecord
from azfilesfs.vfs.staged import StagedFile
from azfilesfs.vfs.staging import StagingArea

PATH = SharePath(("file",))
Keep = Callable[..., Awaitable[KeptRecord]]


@pytest.fixture
def emulator() -> EmulatorApp:
    """Return an emulator with one empty share."""
    return create_app(EmulatorOptions(shares=("share",)))


@pytest.fixture
async def share(emulator: EmulatorApp) -> AsyncIterator[ShareClient]:
    """Open the share, without retries, so that a fault is seen at once."""
    endpoint = Endpoint.of_url(f"http://127.0.0.1:1/{DEFAULT_ACCOUNT}", DEFAULT_ACCOUNT)
    credentials = StaticCredentials(SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY)))
    async with ShareServiceClient.open(
        endpoint,
        credentials,
        ClientOptions(retry=NO_RETRIES),
        transport=asgi_transport(emulator),
    ) as service:
        yield service.share("share")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a mount's state directory."""
    directory = tmp_path / "state"
    directory.mkdir(0o700)
    return directory


@pytest.fixture
def keep(share: ShareClient, state: Path) -> Keep:
    """Return a function that keeps changes to a file of the share, or to a new one."""

    async def keep(
        change: Callable[[StagedFile], object], *, base: bytes | None = None, path: SharePath = PATH
    ) -> KeptRecord:
        validator = None
        if base is not None:
            await share.create_file(path, len(base))
            if base:
                await share.put_range(path, 0, base)
            validator = (await share.get_file_properties(path)).validator()
            assert validator is not None
        with StagingArea.open(state, 10**8, share=f"{DEFAULT_ACCOUNT}/share") as area:
            file = area.create(path, validator, len(base or b""))
            change(file)
            return file.keep("the test says so")

    return keep
