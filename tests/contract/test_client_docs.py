"""The examples of docs/client.md run."""

import os
import re
import subprocess
import sys

import trio

from azfilesfs import client
from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from azfilesfs.emulator.server import ServerOptions, serve
from azfilesfs.emulator.tls import make_certificates
from tests.features import REPOSITORY

PAGE = (REPOSITORY / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def run(example: str, tmp_path, **environment: str) -> str:
    """Run an example as a program and return what it printed."""
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    done = await trio.run_process(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


async def test_the_example_runs(tmp_path):
    """Over https, against the emulator's own authority, it prints what it promises."""
    certificates = make_certificates()
    authority = tmp_path / "ca.pem"
    authority.write_bytes(certificates.authority)
    app = create_app(EmulatorOptions(shares=("data",)))
    async with trio.open_nursery() as nursery:
        options = ServerOptions(tls=certificates.server_context())
        address = await nursery.start(serve, app, options)
        printed = await run(
            EXAMPLES[0],
            tmp_path,
            AZURE_STORAGE_CONNECTION_STRING=(
                f"AccountName={DEFAULT_ACCOUNT};AccountKey={DEFAULT_KEY};"
                f"FileEndpoint={address.url}/{DEFAULT_ACCOUNT}"
            ),
            AZFILESFS_CA_FILE=str(authority),
        )
        nursery.cancel_scope.cancel()

    size = len(EXAMPLES[0].encode())
    assert printed.splitlines() == [
        f"uploaded {size} bytes, the same version came back: True",
        "its end: b'done\\n'",
        "attempt 1 made the file",
        "attempt 2 came too late",
        "appended at 0",
        "lock 4",
        "log 9",
        f"report.txt {size + 5}",
    ]


async def test_the_signature_is_not_printed(tmp_path):
    """The example of a signature makes one and shows nothing of it."""
    printed = await run(EXAMPLES[1], tmp_path)

    assert printed == "SasCredential(token=Secret(REDACTED)) True\n"


def test_public_names():
    """Every public name is there, and listed once."""
    assert all(hasattr(client, name) for name in client.__all__)
    assert len(set(client.__all__)) == len(client.__all__)
