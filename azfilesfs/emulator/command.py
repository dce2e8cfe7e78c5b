"""What ``azfilesfs emulator`` does, without its command line: serve, and tell others where."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.front import serve_front
from azfilesfs.emulator.offload import OffloadDirectory
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.emulator.server import Address, ServerOptions
from azfilesfs.emulator.server import serve as serve_app
from azfilesfs.emulator.timers import kernel_timers
from azfilesfs.emulator.tls import kept_certificates, make_certificates, write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorCommandOptions:
    """Everything that the command line decides.

    Attributes:
        host: address to listen on.
        port: 0 lets the system choose.
        shares: shares to create where they do not exist.
        account: account name.
        key: base64 account key.
        data: directory that keeps everything over a restart; None keeps it in memory.
        http: serve plain http instead of https.
        env_file: where to write how to reach the emulator; None for nowhere.
        offload: directory of the socket that serves an nginx besides; None for none.
    """

    host: str = "127.0.0.1"
    port: int = 0
    shares: tuple[str, ...] = ()
    account: str = DEFAULT_ACCOUNT
    key: str = field(default=DEFAULT_KEY, repr=False)
    data: Path | None = None
    http: bool = False
    env_file: Path | None = None
    offload: Path | None = None

    def emulator_options(self) -> EmulatorOptions:
        """Return the part that concerns the service itself."""
        return EmulatorOptions(
            accounts={self.account: self.key}, shares=self.shares, data=self.data
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedEmulator:
    """How to reach a running emulator.

    Attributes:
        address: where it listens.
        connection_string: for every command here and every SDK; it contains the account key.
        ca_file: the authority that signed its certificate; None for plain http.
    """

    address: Address
    connection_string: str = field(repr=False)
    ca_file: Path | None

    def environment(self) -> dict[str, str]:
        """Return the variables that the commands here read."""
        variables = {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string}
        if self.ca_file is not None:
            variables["AZFILESFS_CA_FILE"] = str(self.ca_file)
        return variables


def connection_string(address: Address, account: str, key: str) -> str:
    """Return the connection string of an emulator, path-style."""
    return (
        f"DefaultEndpointsProtocol={address.scheme};AccountName={account};AccountKey={key};"
        f"FileEndpoint={address.url}/{account};"
    )


def write_env_file(path: Path, served: ServedEmulator) -> None:
    """Write ``NAME=value`` lines for the owner only, in one step: readers see all or nothing.

    Raises:
        OSError: the file cannot be written.
    """
    text = "".join(f"{name}={value}\n" for name, value in served.environment().items())
    write_private(path, text.encode())


def ca_file_of(options: EmulatorCommandOptions) -> Path:
    """Return where the authority's certificate goes: by the env file, else the data, else here."""
    if options.env_file is not None:
        return options.env_file.with_name(f"{options.env_file.name}.ca.pem").absolute()
    folder = options.data if options.data is not None else Path.cwd()
    return (folder / "emulator-ca.pem").absolute()


async def serve(
    options: EmulatorCommandOptions,
    *,
    task_status: trio.TaskStatus[ServedEmulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Everything acknowledged is in the data directory by then.

    Args:
        options: the command line.
        task_status: gets the address and how to reach it, once connections are accepted and the
            files are written.

    Raises:
        OSError: the address, the data directory or a file cannot be used.
        InvalidShareName: a share's name is malformed.
        ValueError: the key is not base64.
    """
    app = create_app(options.emulator_options())
    try:
        ca_file, context = None, None
        if not options.http:
            certificates = (
                make_certificates([options.host])
                if options.data is None
                else kept_certificates(options.data, [options.host])
            )
            ca_file = ca_file_of(options)
            write_private(ca_file, certificates.authority)
            context = certificates.server_context()
        where = ServerOptions(options.host, options.port, context)
        with kernel_timers() as timers:
            app.network.sleep_until = timers.sleep_until
            async with trio.open_nursery() as nursery:
                if options.offload is not None:
                    directory = OffloadDirectory(options.offload.absolute())
                    await nursery.start(serve_front, app, directory)
                address: Address = await nursery.start(partial(serve_app, app, where))
                served = ServedEmulator(
                    address=address,
                    connection_string=connection_string(address, options.account, options.key),
                    ca_file=ca_file,
                )
                if options.env_file is not None:
                    write_env_file(options.env_file, served)
                task_status.started(served)
    finally:
        app.close()
