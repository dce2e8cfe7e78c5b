"""Reading the mount table."""

import os
from pathlib import Path

from azfilesfs.fuse import mountinfo
from azfilesfs.fuse.mountinfo import canonical, mount_above, mount_at, parse

TABLE = r"""24 1 0:22 / / rw,noatime shared:1 - ext4 /dev/vda rw
98 24 0:55 / /mnt/a\040b\134c rw shared:7 master:2 - fuse.azfilesfs acc/share\040x ro,user_id=0
99 98 0:56 / /mnt/a\040b\134c rw - tmpfs tmpfs rw
100 24 0:57 / /mnt/other rw - fuse.sshfs host: rw
nonsense
"""


def test_lines_are_taken_apart():
    """Mountpoint, device, type and source are read, escapes undone, unknown fields skipped."""
    found = parse(TABLE)

    assert [mount.kind for mount in found] == ["ext4", "fuse.azfilesfs", "tmpfs", "fuse.sshfs"]
    ours = found[1]
    assert (ours.mountpoint, ours.device) == (Path("/mnt/a b\\c"), "0:55")
    assert ours.source == "acc/share x"
    assert [mount.is_ours for mount in found] == [False, True, False, False]


def test_the_upper_mount_counts(tmp_path, monkeypatch):
    """Of two mounts on one path the later covers the earlier; a path lies in the deepest mount."""
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    monkeypatch.setattr(mountinfo, "_TABLE", table)

    upper = mount_at(Path("/mnt/a b\\c"))
    assert upper is not None
    assert upper.kind == "tmpfs"
    assert mount_at(Path("/mnt/a b\\c/deeper")) is None
    above = mount_above(Path("/mnt/other/x/y"))
    assert above is not None
    assert above.kind == "fuse.sshfs"
    below = mount_above(Path("/elsewhere"))
    assert below is not None
    assert below.mountpoint == Path("/")


def test_names_are_bytes_underneath(tmp_path, monkeypatch):
    """Mountpoints outside ASCII compare equal to the path that Python has for them."""
    table = tmp_path / "mountinfo"
    name = os.fsdecode(b"/mnt/\xe5\x90\x8d\xff")
    table.write_bytes(b"9 1 0:9 / /mnt/\xe5\x90\x8d\xff rw - tmpfs tmpfs rw\n")
    monkeypatch.setattr(mountinfo, "_TABLE", table)

    assert mount_at(Path(name)) is not None


def test_a_path_is_resolved_but_for_its_end(tmp_path):
    """The parent's links are followed; the last component may be a dead mount, so it is not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert canonical(tmp_path / "link" / "m") == tmp_path.resolve() / "real" / "m"
    assert canonical(Path("/")) == Path("/")
