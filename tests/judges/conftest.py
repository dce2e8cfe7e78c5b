"""Emulators that real clients talk to over a socket, https with its own CA or plain http."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio

from azfilesfs.emulator.app import EmulatorApp, create_app
from azfilesfs.emulator.command import connection_string
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.emulator.server import Address, ServerOptions, serve
from azfilesfs.emulator.tls import make_certificates


@dataclass(frozen=True, kw_only=True)
class RunningEmulator:
    """An emulator that serves on a socket, in a thread of its own.

    ``app`` may be looked at while no request is in flight.
    """

    app: EmulatorApp
    address: Address
    connection_string: str = field(repr=False)
    ca_file: Path | None

    @property
    def account_url(self) -> str:
        """URL of the account, path-style."""
        return f"{self.address.url}/{DEFAULT_ACCOUNT}"


class ServerThread:
    """Runs trio and a server in a thread until it is stopped."""

    def __init__(self, app: EmulatorApp, options: ServerOptions) -> None:
        """Start, and wait until connections are accepted."""
        self._app = app
        self._options = options
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), name="emulator")
        self._thread.start()
        if not self._ready.wait(30):
            raise TimeoutError("the emulator did not start")

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self.address: Address = await nursery.start(partial(serve, self._app, self._options))
            self._ready.set()

    def stop(self) -> None:
        """Stop serving and wait for the thread."""
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(30)


@pytest.fixture(params=["https", "http"])
def emulator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningEmulator]:
    """Run an emulator with a share named ``share``, once over https and once over http."""
    ca_file, context = None, None
    if request.param == "https":
        certificates = make_certificates()
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(certificates.authority)
        context = certificates.server_context()
    app = create_app(EmulatorOptions(shares=("share",)))
    thread = ServerThread(app, ServerOptions(tls=context))
    try:
        yield RunningEmulator(
            app=app,
            address=thread.address,
            connection_string=connection_string(thread.address, DEFAULT_ACCOUNT, DEFAULT_KEY),
            ca_file=ca_file,
        )
    finally:
        thread.stop()
        app.close()
