"""What is checked before anything starts."""

import errno
import os
import shutil
import stat
import threading

import pytest

from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.daemon import precheck
from azfilesfs.daemon.precheck import check_fuse, check_mountpoint, is_dead
from azfilesfs.fuse import mountinfo


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Pretend that something is mounted on ``tmp_path/mnt``."""
    path = tmp_path / "mountinfo"

    def mount(kind: str) -> None:
        path.write_text(f"2 1 0:5 / {tmp_path}/mnt rw - {kind} somebody/s rw\n")

    path.write_text("")
    monkeypatch.setattr(mountinfo, "_TABLE", path)
    (tmp_path / "mnt").mkdir()
    return mount


def test_a_fit_mountpoint(tmp_path, table):
    """An empty directory is fit, even as the root of another kind of filesystem."""
    check_mountpoint(tmp_path / "mnt")
    table("tmpfs")
    check_mountpoint(tmp_path / "mnt")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("mountinfo", ExitCode.MOUNTPOINT_UNUSABLE),
        ("missing", ExitCode.MOUNTPOINT_UNUSABLE),
        (".", ExitCode.MOUNTPOINT_NOT_EMPTY),
    ],
)
def test_unfit_mountpoints(tmp_path, table, name, code):
    """A file, nothing, and a directory with entries are not."""
    with pytest.raises(CommandFailed) as caught:
        check_mountpoint(tmp_path / name)

    assert caught.value.code is code


def test_a_mountpoint_that_cannot_be_read(tmp_path, table, monkeypatch):
    """Whatever else is wrong with it is said in the system's words."""

    def refuse(path: object) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(CommandFailed, match="cannot be used: Permission denied"):
        check_mountpoint(tmp_path / "mnt")


@pytest.mark.parametrize("kind", ["fuse.sshfs", "fuse.azfilesfs"])
def test_a_mountpoint_in_use(tmp_path, table, kind):
    """A mount that is there, ours or not, is left alone."""
    table(kind)
    with pytest.raises(CommandFailed, match="somebody/s is mounted there") as caught:
        check_mountpoint(tmp_path / "mnt")

    assert caught.value.code is ExitCode.MOUNTPOINT_IN_USE


@pytest.mark.parametrize("works", [True, False])
def test_a_dead_mount_is_detached(tmp_path, table, monkeypatch, works):
    """A dead mount of ours is detached first; if that fails the place is in use."""
    table("fuse.azfilesfs")
    detached = []

    def detach(path: object) -> bool:
        detached.append(path)
        return works

    monkeypatch.setattr(precheck, "is_dead", lambda path: True)
    monkeypatch.setattr(precheck, "detach", detach)
    if works:
        check_mountpoint(tmp_path / "mnt")
    else:
        with pytest.raises(CommandFailed, match="could not be detached"):
            check_mountpoint(tmp_path / "mnt")

    assert detached == [tmp_path / "mnt"]


def test_dead_or_hanging(tmp_path, monkeypatch):
    """Dead is what says so; a mount that does not answer is not dead, and does not hold us up."""
    assert not is_dead(tmp_path)
    assert not is_dead(tmp_path / "missing")
    opened = os.open

    def dead(path: str, *rest: int) -> int:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(os, "open", dead)
    assert is_dead(tmp_path)
    answer = threading.Event()

    def hanging(path: str, *rest: int) -> int:
        answer.wait(30)
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", hanging)
    monkeypatch.setattr(precheck, "_ANSWER_SECONDS", 0.01)
    assert not is_dead(tmp_path)
    answer.set()


def test_without_fuse(tmp_path, monkeypatch):
    """A missing program, a missing device and a closed one are told apart."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CommandFailed, match="apt install fuse3"):
        check_fuse(allow_other=False)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/fusermount3")
    monkeypatch.setattr(precheck, "_DEVICE", tmp_path / "fuse")
    with pytest.raises(CommandFailed, match="does not exist"):
        check_fuse(allow_other=False)
    (tmp_path / "fuse").touch()
    check_fuse(allow_other=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CommandFailed, match="may not be opened"):
        check_fuse(allow_other=False)


def test_allowing_others(tmp_path, monkeypatch):
    """A user may allow others only where /etc/fuse.conf says so; root always may."""
    conf = tmp_path / "fuse.conf"
    device = tmp_path / "fuse"
    device.touch(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/fusermount3")
    monkeypatch.setattr(precheck, "_DEVICE", device)
    monkeypatch.setattr(precheck, "_FUSE_CONF", conf)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    for text in (None, "#user_allow_other\n"):
        if text is not None:
            conf.write_text(text)
        with pytest.raises(CommandFailed, match="user_allow_other"):
            check_fuse(allow_other=True)
    conf.write_text("mount_max = 5\nuser_allow_other\n")
    check_fuse(allow_other=True)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    conf.unlink()
    check_fuse(allow_other=True)
