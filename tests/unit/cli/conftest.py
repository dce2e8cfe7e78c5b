"""Commands in this process, against an emulator on a socket."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from azfilesfs.cli.main import main
from azfilesfs.client import (
    ShareClient,
    ShareServiceClient,
    StaticCredentials,
    parse_connection_string,
)
from tests.unit.serving import serving

Work = Callable[[ShareClient], Awaitable[Any]]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Serve two shares and return the environment that their clients need."""
    with serving(tmp_path_factory.mktemp("emulator"), "share", "other") as environment:
        yield environment


@pytest.fixture
def environment(
    served: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Set the environment of a user who has the emulator's credentials and nothing mounted."""
    places = {
        name: str(tmp_path / name)
        for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    }
    for name, value in (served | places).items():
        monkeypatch.setenv(name, value)
    return served | places


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(environment: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return what runs ``azfilesfs`` in this process."""

    def run(*words: object) -> Done:
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def on_share(served: dict[str, str]) -> Callable[[Work], Any]:
    """Return what does something with the share ``share``."""
    endpoint, credential = parse_connection_string(served["AZURE_STORAGE_CONNECTION_STRING"])

    def run(work: Work) -> Any:
        async def connected() -> Any:
            async with ShareServiceClient.open(endpoint, StaticCredentials(credential)) as service:
                return await work(service.share("share"))

        return trio.run(connected)

    return run
