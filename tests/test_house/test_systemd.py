"""The systemd unit."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests.features import REPOSITORY

UNIT = REPOSITORY / "systemd" / "azfilesfs@.service"
INSTALLED = "/opt/azfilesfs/bin/azfilesfs"
OWN_NAMESPACE = {
    "BindPaths", "BindReadOnlyPaths", "DynamicUser", "ExecPaths", "InaccessiblePaths",
    "MountAPIVFS", "MountFlags", "NoExecPaths", "PrivateDevices", "PrivateIPC", "PrivateMounts",
    "PrivateTmp", "PrivateUsers", "ProcSubset", "ProtectControlGroups", "ProtectHome",
    "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc",
    "ProtectSystem", "ReadOnlyPaths", "ReadWritePaths", "RootDirectory", "RootImage",
    "TemporaryFileSystem",
}  # fmt: skip


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    """Return the settings of the service, those given once only."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names keep their case
    parser.read_string(UNIT.read_text(encoding="utf-8").replace("\\\n", " "))
    return parser["Service"]


def test_systemd_accepts_the_unit(tmp_path: Path):
    """systemd-analyze finds nothing wrong with the unit."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    instance = tmp_path / "azfilesfs@data.service"
    unit = UNIT.read_text(encoding="utf-8")
    instance.write_text(unit.replace(INSTALLED, str(Path(sys.executable).parent / "azfilesfs")))

    outcome = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", instance],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_unit_keeps_the_mount_visible(service: configparser.SectionProxy):
    """No setting gives the service a mount namespace, in which nobody else would see the mount."""
    assert set(service) & OWN_NAMESPACE == set()
    assert service["DeviceAllow"] == "/dev/fuse rw"


def test_unit_takes_secrets_as_credentials(service: configparser.SectionProxy):
    """Keys reach the service as a systemd credential, not by environment or command line."""
    assert service["LoadCredential"].startswith("credentials:")
    assert "--credentials %d/credentials" in service["ExecStart"]
    assert "Environment" not in service


def test_unit_reports_readiness_and_leaves_time_to_drain(service: configparser.SectionProxy):
    """Starting ends when the mount works; stopping signals first and leaves minutes to send."""
    assert service["Type"] == "notify"
    assert service["KillSignal"] == "SIGTERM"
    assert re.fullmatch(r"[2-9]min", service["TimeoutStopSec"])


def test_unit_gives_up_where_starting_again_is_vain(service: configparser.SectionProxy):
    """The exit statuses that end the restarts are those of settings, not of the network."""
    codes = {ExitCode(int(word)) for word in service["RestartPreventExitStatus"].split()}

    assert codes == {
        ExitCode.USAGE,
        ExitCode.REFUSED,
        ExitCode.NOT_FOUND,
        ExitCode.MOUNTPOINT_IN_USE,
        ExitCode.MOUNTPOINT_NOT_EMPTY,
        ExitCode.MOUNTPOINT_UNUSABLE,
        ExitCode.FUSE_UNAVAILABLE,
    }


def test_unit_calls_the_command_as_it_is(service: configparser.SectionProxy):
    """Each option in the unit is one that ``azfilesfs mount`` has."""
    words = service["ExecStart"].split()
    outcome = subprocess.run(
        [Path(sys.executable).parent / "azfilesfs", "mount", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert words[:2] == [INSTALLED, "mount"]
    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if option not in outcome.stdout] == []
