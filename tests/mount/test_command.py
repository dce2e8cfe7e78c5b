"""The commands as their users see them: one line and an exit status, credentials, options, logs."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from azfilesfs.client import SasLimits, Secret, SharedKeyCredential, read_only_share_sas
from azfilesfs.config.exit_codes import ExitCode
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from tests.conftest import fuse_mounts_below
from tests.mount.harness import COMMAND, Emulator, Mount, eventually, run

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"


@pytest.fixture
def unmounted(emulator: Emulator, tmp_path: Path) -> Mount:
    """Prepare a mount that is not made."""
    made = Mount(tmp_path / "mnt", tmp_path / "home", "others", dict(emulator.environment))
    made.path.mkdir()
    return made


def refused(made: Mount, code: ExitCode, *flags: str) -> str:
    """Try to mount; return the one line that it is refused with."""
    done = made.mount(*flags, expect=int(code))
    assert done.stdout == ""
    assert re.fullmatch(r"azfilesfs: .+\n", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert DEFAULT_KEY not in done.stderr
    assert fuse_mounts_below(made.path) == []
    return done.stderr.removeprefix("azfilesfs: ").rstrip()


def test_a_wrong_key(unmounted: Mount, emulator: Emulator):
    """A key that the service refuses is said to be so."""
    wrong = "d3JvbmcgYXMgY2FuIGJl"
    unmounted.environment[CONNECTION] = emulator.environment[CONNECTION].replace(DEFAULT_KEY, wrong)

    said = refused(unmounted, ExitCode.REFUSED)
    assert said.startswith("the service refused the key or signature")
    assert wrong not in said


def test_no_such_share(unmounted: Mount):
    """A share or directory that does not exist is not made."""
    unmounted.target = "nowhere"
    assert refused(unmounted, ExitCode.NOT_FOUND).startswith("there is no such share")
    unmounted.target = "others/no/where"
    assert refused(unmounted, ExitCode.NOT_FOUND).startswith("there is no such directory")


def test_no_network(unmounted: Mount, emulator: Emulator):
    """Nobody who listens, no such host and a stranger's certificate are the network's fault."""
    string = emulator.environment[CONNECTION]
    unmounted.environment[CONNECTION] = re.sub(r"127.0.0.1:\d+", "127.0.0.1:1", string)
    assert refused(unmounted, ExitCode.UNREACHABLE).startswith("the service cannot be reached")
    unmounted.environment[CONNECTION] = re.sub(r"127.0.0.1:\d+", "host.invalid", string)
    assert refused(unmounted, ExitCode.UNREACHABLE).startswith("the service cannot be found")
    unmounted.environment[CONNECTION] = string
    del unmounted.environment["AZFILESFS_CA_FILE"]
    said = refused(unmounted, ExitCode.UNREACHABLE)
    assert said.startswith("the service's certificate was not accepted")


def test_unfit_mountpoints(unmounted: Mount, tmp_path: Path):
    """A mountpoint must be an empty directory that exists."""
    (unmounted.path / "entry").touch()
    assert refused(unmounted, ExitCode.MOUNTPOINT_NOT_EMPTY).endswith("is not empty")
    unmounted.path = unmounted.path / "entry"
    done = unmounted.command(
        "mount", "others", unmounted.path, expect=int(ExitCode.MOUNTPOINT_UNUSABLE)
    )
    assert "is not a directory" in done.stderr
    done = unmounted.command(
        "mount", "others", tmp_path / "missing", expect=int(ExitCode.MOUNTPOINT_UNUSABLE)
    )
    assert "does not exist" in done.stderr


def test_without_fuse(unmounted: Mount, tmp_path: Path):
    """Without fusermount3 the line says what to install."""
    unmounted.environment["PATH"] = str(tmp_path)

    assert "apt install fuse3" in refused(unmounted, ExitCode.FUSE_UNAVAILABLE)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--key", DEFAULT_KEY], "use --key-file FILE"),
        ([f"--account-key={DEFAULT_KEY}"], "use --key-file FILE"),
        (["--sas", "sig=x"], "use --sas-file FILE"),
        (["--connection-string", "x"], "use --connection-string-file FILE"),
        (["--oauth"], "not yet available"),
        (["--record", "dir"], "not yet available"),
        (["--attr-ttl", "x"], "--attr-ttl: must be a duration"),
        ([f"--passwrd={DEFAULT_KEY}"], "unknown: --passwrd"),
        ([DEFAULT_KEY], "too many arguments"),
        (["--attr"], "unknown: --attr"),
        (["--key-file", "/no/such/file"], "cannot be read"),
        (["--config", "/no/such/file"], "does not exist"),
    ],
)
def test_wrong_arguments(unmounted: Mount, flags: list[str], said: str):
    """Wrong, secret and planned flags are refused before anything starts."""
    assert said in refused(unmounted, ExitCode.USAGE, *flags)


def test_wrong_names(unmounted: Mount):
    """A share or directory name that cannot be is refused without asking the service."""
    for target in ("Share_1", "others/a|b\udcff", "https://x/others"):
        unmounted.target = target
        refused(unmounted, ExitCode.USAGE)


def test_commands_of_later_versions():
    """Commands that are planned say so; unknown ones are unknown."""
    for name, said in (("record", "not yet available"), ("frobnicate", "invalid choice")):
        done = run(COMMAND, name, "x", "--y", expect=int(ExitCode.USAGE))
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_help_and_version():
    """Each command explains itself, and the version is told."""
    assert re.fullmatch(r"azfilesfs \d+\.\d+\.\d+\n", run(COMMAND, "version").stdout)
    assert run(COMMAND, "--version").stdout == run(COMMAND, "version").stdout
    for name in ("mount", "umount", "mv", "recover", "emulator"):
        assert f"azfilesfs {name}" in run(COMMAND, name, "--help").stdout
    assert "usage" in run(sys.executable, "-m", "azfilesfs", "--help").stdout


def test_how_files_appear(new_mount: NewMount):
    """Owner, group and permissions are those of the options."""
    flags = ("--uid", "1234", "--gid", "2345", "--file-mode", "0664", "--dir-mode", "0775")
    made = new_mount("others", *flags, "--umask", "007")
    (made.path / "d").mkdir()
    (made.path / "f").touch()

    for name, mode in (("d", 0o770), ("f", 0o660)):
        found = (made.path / name).stat()
        assert (found.st_uid, found.st_gid) == (1234, 2345)
        assert stat.S_IMODE(found.st_mode) == mode
    os.chmod(made.path / "f", 0o600)
    assert stat.S_IMODE((made.path / "f").stat().st_mode) == 0o660


def test_strict_modes_and_no_symlinks(new_mount: NewMount):
    """With the strict options chmod and symbolic links are refused."""
    made = new_mount("others", "--strict-modes", "--symlinks", "off", "--no-exec")
    (made.path / "script").write_text("#!/bin/sh\n")

    with pytest.raises(PermissionError):
        os.chmod(made.path / "script", 0o600)
    with pytest.raises(PermissionError):
        os.symlink("x", made.path / "link")
    with pytest.raises(PermissionError):
        subprocess.run([made.path / "script"], check=False)


def test_a_directory_of_the_share(new_mount: NewMount):
    """``SHARE/DIR`` mounts a directory; names in it are spelled as on the mount."""
    whole = new_mount("others")
    (whole.path / "sub" / "names: mapped").mkdir(parents=True)
    part = new_mount("others/sub/names: mapped/")
    (part.path / "f").write_text("below")

    seen = whole.path / "sub" / "names: mapped" / "f"
    eventually(seen.exists, "what the other mount wrote, after --dir-ttl")
    assert seen.read_text() == "below"


def test_read_only(new_mount: NewMount):
    """A read-only mount refuses every change with EROFS and asks for none at the service."""
    new_mount("third").umount()
    made = new_mount("third", "--read-only")

    with pytest.raises(OSError, match="Read-only"):
        (made.path / "f").touch()
    assert os.listdir(made.path) == []


def test_a_signature_without_rights_to_write(
    unmounted: Mount, emulator: Emulator, new_mount: NewMount
):
    """A read-only signature is enough to mount and to read; writing is refused."""
    writer = new_mount("others")
    (writer.path / "readable").write_text("words")
    key = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))
    limits = SasLimits(expiry=datetime.now(UTC) + timedelta(hours=1))
    signature = read_only_share_sas(key, "others", limits)
    sas = unmounted.home / "sas"
    sas.parent.mkdir()
    sas.write_text(signature.query())
    del unmounted.environment[CONNECTION]
    unmounted.flags = ("--sas-file", str(sas), "--account", DEFAULT_ACCOUNT)

    unmounted.mount("--endpoint", emulator.url.rstrip("/"))
    try:
        assert (unmounted.path / "readable").read_text() == "words"
        with pytest.raises(OSError, match=r"Read-only|Permission"):
            (unmounted.path / "new").write_text("x")
    finally:
        unmounted.umount()


def test_a_rotated_key(unmounted: Mount, emulator: Emulator):
    """A credential file is read again at SIGHUP, and when the service refuses what is in use."""
    good = "".join(f"{name}={text}\n" for name, text in emulator.environment.items())
    file = unmounted.home / "credentials"
    file.parent.mkdir()
    file.write_text(good)
    unmounted.environment.clear()
    unmounted.mount("--credentials", str(file), "--log-level", "info", "--attr-ttl", "0")
    try:
        file.write_text(good.replace(DEFAULT_KEY, "d3Jvbmc="))
        os.kill(unmounted.pid(), signal.SIGHUP)
        eventually(lambda: "a new credential is in use" in unmounted.log(), "it is read again")
        with pytest.raises(PermissionError):
            (unmounted.path / "f").write_text("x")
        file.write_text(good)
        (unmounted.path / "rotated").write_text("by itself")
        assert (unmounted.path / "rotated").read_text() == "by itself"
        file.write_text("not a credential\n")
        os.kill(unmounted.pid(), signal.SIGHUP)
        eventually(lambda: "the credential is kept" in unmounted.log(), "it is kept")
        assert (unmounted.path / "rotated").read_text() == "by itself"
    finally:
        unmounted.umount()
    assert DEFAULT_KEY not in unmounted.log()
    assert "not a credential" not in unmounted.log()


def test_plain_http_on_loopback(tmp_path: Path):
    """An endpoint without encryption is accepted on this machine, and nowhere else."""
    env_file = tmp_path / "env"
    words: list[object] = [
        "--share",
        "plain",
        "--http",
        "--env-file",
        env_file,
        "--listen",
        "127.0.0.1:0",
    ]
    process = subprocess.Popen(
        [COMMAND, "emulator", *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline().startswith("serving on http://127.0.0.1:")
        made = Mount(tmp_path / "mnt", tmp_path / "home", "plain", {})
        made.mount("--credentials", str(env_file))
        (made.path / "f").write_text("plain")
        made.umount()
        env_file.write_text(env_file.read_text().replace("127.0.0.1", "192.0.2.1"))
        made.path.mkdir(exist_ok=True)
        said = refused(made, ExitCode.USAGE, "--credentials", str(env_file))
        assert "plain http is accepted for loopback addresses only" in said
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_settings_from_the_file_and_the_environment(unmounted: Mount):
    """The configuration file and variables set options; a flag is stronger."""
    config = unmounted.home / "config" / "azfilesfs" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[mount]\nuid = "1000"\ngid = "1000"\n[share.others]\ngid = "2000"\n')
    unmounted.environment["AZFILESFS_FILE_MODE"] = "0640"
    unmounted.environment["AZFILESFS_DIR_MODE"] = "0700"
    unmounted.mount("--dir-mode", "0750")
    try:
        (unmounted.path / "set").touch()
        found, root = (unmounted.path / "set").stat(), unmounted.path.stat()
        assert (found.st_uid, found.st_gid) == (1000, 2000)
        assert stat.S_IMODE(found.st_mode) == 0o640
        assert stat.S_IMODE(root.st_mode) == 0o750
    finally:
        unmounted.umount()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_metrics(new_mount: NewMount):
    """With ``--metrics`` operations, latencies, cache and dirty bytes can be scraped."""
    port = free_port()
    made = new_mount("others", "--metrics", f"127.0.0.1:{port}")
    with (made.path / "measured").open("wb", buffering=0) as file:
        file.write(b"x" * 1000)
        url = f"http://127.0.0.1:{port}/metrics"
        while_dirty = urllib.request.urlopen(url, timeout=30).read().decode()
    (made.path / "measured").read_bytes()
    with pytest.raises(FileNotFoundError):
        (made.path / "missing").stat()
    after = urllib.request.urlopen(url, timeout=30).read().decode()

    assert "azfilesfs_dirty_bytes 1000.0" in while_dirty
    assert "azfilesfs_dirty_bytes 0.0" in after
    assert 'azure_files_operations_total{operation="CreateFile",share="others"' in after
    assert 'azfilesfs_fuse_operation_seconds_count{operation="write"} 1.0' in after
    assert 'azfilesfs_fuse_errors_total{errno="ENOENT",operation="lookup"}' in after
    assert "process_resident_memory_bytes" in after
    done = made.command(
        *("mount", "third", _made(made.home / "other"), "--metrics", f"127.0.0.1:{port}"),
        expect=int(ExitCode.FAILED),
    )
    assert "metrics cannot be served" in done.stderr


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("style", ["text", "json"])
def test_logs_hold_no_secret(unmounted: Mount, style: str):
    """At the finest level every request is logged, without the key, in the form that was asked."""
    log = unmounted.home / "the.log"
    log.parent.mkdir()
    unmounted.mount("--log-level", "trace", "--log-format", style, "--log-file", str(log))
    (unmounted.path / f"logged {style}").write_text("private words")
    (unmounted.path / f"logged {style}").rename(unmounted.path / f"renamed {style}")
    unmounted.umount()

    text = log.read_text()
    assert DEFAULT_KEY not in text
    assert "private words" not in text
    assert "SharedKey " not in text
    assert "CreateFile" in text
    for line in text.splitlines():
        if style == "json":
            assert {"time", "level", "logger", "message"} <= set(json.loads(line))
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ azfilesfs[\w.]*: ", line)


def test_a_log_that_cannot_be_written(unmounted: Mount):
    """A log file in a place that does not exist ends the start."""
    said = refused(unmounted, ExitCode.FAILED, "--log-file", "/no/such/place/log")

    assert said == "the log file /no/such/place/log cannot be written: No such file or directory"


def test_mv_changes_the_case_of_a_name(new_mount: NewMount, emulator: Emulator):
    """``azfilesfs mv`` renames what a mount cannot: the mere case, of files and directories."""
    made = new_mount("others")
    (made.path / "Cased").mkdir()
    (made.path / "Cased" / "name").write_text("x")

    made.command("mv", made.path / "Cased" / "name", made.path / "Cased" / "NAME")
    made.command("mv", "others/Cased", "others/CASED")

    eventually(lambda: "CASED" in os.listdir(made.path), "the directory shows its new name")
    eventually(lambda: os.listdir(made.path / "CASED") == ["NAME"], "the file shows its new name")


def test_mv_replaces_only_when_told(new_mount: NewMount):
    """A name that is taken is not replaced, unless ``--replace`` says so; directories never."""
    made = new_mount("others")
    folder = _made(made.path / "mv")
    for name in ("a", "b"):
        (folder / name).write_text(name)
    done = made.command("mv", "others/mv/a", "others/mv/b", expect=int(ExitCode.FAILED))
    assert "mv/b exists already" in done.stderr
    made.command("mv", "--replace", "others/mv/a", "others/mv/b")
    eventually(lambda: os.listdir(folder) == ["b"], "the mount sees the rename")
    assert (folder / "b").read_text() == "a"

    done = made.command("mv", "others/mv/none", "others/mv/c", expect=int(ExitCode.NOT_FOUND))
    assert "mv/none: there is no such file" in done.stderr
    done = made.command("mv", "others/mv/b", "tests/b", expect=int(ExitCode.USAGE))
    assert "same share" in done.stderr
    done = made.command("mv", "--replace", "others/mv", "others/b2", expect=int(ExitCode.USAGE))
    assert "directory" in done.stderr
    done = made.command("mv", made.path, "others/x", expect=int(ExitCode.USAGE))
    assert "whole share" in done.stderr
    done = made.command("mv", "/etc/passwd", "others/x", expect=int(ExitCode.USAGE))
    assert "not on a mount" in done.stderr


def test_odd_ways_to_unmount(new_mount: NewMount):
    """A wrong time to wait is refused, and the mount stays."""
    made = new_mount("others")
    done = made.command("umount", "--timeout", "soon", made.path, expect=int(ExitCode.USAGE))

    assert "--timeout: must be a duration" in done.stderr
    assert fuse_mounts_below(made.path) == [made.path]


def test_a_mount_that_is_registered_nowhere(new_mount: NewMount):
    """A mount whose record is lost is left alone while it lives, and detached once it is dead."""
    made = new_mount("others")
    pid = made.pid()
    for record in (made.home / "run").rglob("*.json"):
        record.unlink()
    done = made.umount(expect=int(ExitCode.NOT_MOUNTED))
    assert "cannot be found" in done.stderr
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not _is_alive(pid), "the daemon is dead")
    done = made.umount(expect=int(ExitCode.UNSENT_DATA))
    assert "is not known here" in done.stderr
    assert fuse_mounts_below(made.path) == []


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_mount_helper(unmounted: Mount, emulator: Emulator):
    """``mount.azfilesfs`` takes what mount(8) passes from a line of fstab."""
    credentials = unmounted.home / "credentials"
    credentials.parent.mkdir()
    lines = [f"{name}={text}\n" for name, text in emulator.environment.items()]
    credentials.write_text("".join(lines))
    unmounted.environment.clear()
    helper = COMMAND.with_name("mount.azfilesfs")
    options = f"rw,_netdev,nofail,noatime,x-systemd.automount,credentials={credentials}"

    def mount(more: str, code: int, *flags: str) -> str:
        words = [helper, "others", unmounted.path, *flags, "-o", f"{options},{more}"]
        return run(*words, environment=unmounted.xdg, expect=code).stderr

    assert "unknown mount option 'frob'" in mount("frob=1", 1)
    assert "use key-file=FILE" in mount(f"key={DEFAULT_KEY}", 1)
    assert "needs a value" in mount("uid", 1)
    assert mount("uid=5", 0, "-f") == ""
    assert fuse_mounts_below(unmounted.path) == []
    mount("uid=1000,file_mode=0600,ro,frob", 0, "-s", "-v", "-n")
    assert unmounted.path.stat().st_uid == 1000
    with pytest.raises(OSError, match="Read-only"):
        (unmounted.path / "f").touch()
    assert "is in use" in mount("uid=5", 32)
    unmounted.umount()


def test_two_shares_have_directories_of_their_own(new_mount: NewMount, tmp_path: Path):
    """Mounts that share cache and state directories never share what is in them."""
    common = ("--cache-dir", str(tmp_path / "c"), "--state-dir", str(tmp_path / "s"))
    one, other = new_mount("others", *common), new_mount("third", *common)
    (one.path / "f").write_text("one")
    (other.path / "f").write_text("other")

    assert len(os.listdir(tmp_path / "c" / "mounts")) == 2
    assert len(os.listdir(tmp_path / "s" / "mounts")) == 2
    for state in (tmp_path / "s" / "mounts").iterdir():
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert (one.path / "f").read_text() == "one"
