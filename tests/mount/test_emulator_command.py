"""``azfilesfs emulator`` as its users see it."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests.mount.harness import COMMAND, Mount, mounted, run, running_emulator

KEY = "b3duIGtleSBvZiB0aGlzIHRlc3Q="


@pytest.mark.mount
def test_what_was_written_survives(tmp_path: Path):
    """With ``--data`` an emulator that is started again has what it had acknowledged."""
    arguments = ("--share", "kept", "--data", tmp_path / "data", "--account", "mine1", "--key", KEY)
    with running_emulator(tmp_path, *arguments) as first:
        assert "AccountName=mine1" in first.environment["AZURE_STORAGE_CONNECTION_STRING"]
        with mounted(tmp_path / "one", first, "kept") as made:
            (made.path / "file").write_text("acknowledged")
    with (
        running_emulator(tmp_path, *arguments) as second,
        mounted(tmp_path / "two", second, "kept") as made,
    ):
        assert (made.path / "file").read_text() == "acknowledged"


def test_the_environment_file_is_private(tmp_path: Path):
    """The file that tells others how to reach it can be read by its owner alone."""
    with running_emulator(tmp_path, "--share", "one1", "two2") as running:
        assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
        assert set(running.environment) == {"AZURE_STORAGE_CONNECTION_STRING", "AZFILESFS_CA_FILE"}


def test_signals_end_it_in_order(tmp_path: Path):
    """SIGINT ends it with status 0, and nothing but its address was said."""
    words = [str(COMMAND), "emulator", "--http", "--share", "demo"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as made:
        assert made.stdout
        said = made.stdout.readline()
        made.send_signal(signal.SIGINT)
        rest = made.communicate(timeout=60)

    assert said.startswith("serving on http://127.0.0.1:")
    assert rest == ("", "")
    assert made.returncode == 0


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--key", "not base64!"], ExitCode.USAGE, "base64"),
        (["--share", "Not_A_Share"], ExitCode.USAGE, "not a share name"),
        (["--listen", "nowhere"], ExitCode.USAGE, "--listen: must be HOST:PORT"),
        (["--listen", "192.0.2.1:0"], ExitCode.FAILED, "cannot serve"),
        (["--data", "/dev/null/x"], ExitCode.FAILED, "cannot serve"),
        (["--offload", "/tmp/x"], ExitCode.USAGE, "needs --data"),
        (["--log-file", "/no/such/log"], ExitCode.FAILED, "cannot be written"),
        (["--config", "/no/such/file"], ExitCode.USAGE, "does not exist"),
    ],
)
def test_what_cannot_be_served(flags: list[str], code: ExitCode, said: str):
    """A wrong setting is one line and a status."""
    done = run(COMMAND, "emulator", *flags, expect=int(code))

    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "not base64!" not in done.stderr


def test_a_taken_port():
    """An address that another listens on is named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(COMMAND, "emulator", "--listen", where, expect=int(ExitCode.FAILED))

    assert done.stderr.startswith(f"azfilesfs: cannot serve: {where}: ")


def test_a_settings_file(tmp_path: Path):
    """Settings of the emulator come from the file and from variables of their own."""
    config = tmp_path / "config.toml"
    config.write_text('[emulator]\naccount = "fromfile1"\n')
    with running_emulator(tmp_path, "--config", config, "--share", "demo") as running:
        assert running.url.rstrip("/").endswith("/fromfile1")
        made = Mount(tmp_path / "m", tmp_path / "home", "demo", running.environment)
        assert made.xdg["AZURE_STORAGE_CONNECTION_STRING"].count("fromfile1") == 2
