"""The configuration of a mount as a whole, and where its directories are."""

import os
from pathlib import Path

import pytest

from azfilesfs.config import file as config_file
from azfilesfs.config.convert import HostPort
from azfilesfs.config.directories import base_directories, mount_id
from azfilesfs.config.emulator import build_emulator
from azfilesfs.config.mount import LockConfig, MountConfig, build_mount, split_share
from azfilesfs.config.mount_options import MOUNT_OPTIONS
from azfilesfs.errors import ConfigurationError


@pytest.fixture(autouse=True)
def no_system_file(monkeypatch, tmp_path):
    """Keep this machine's configuration out."""
    monkeypatch.setattr(config_file, "SYSTEM_FILE", tmp_path / "none")


def build(flags: dict[str, str], environment: dict[str, str] | None = None) -> MountConfig:
    """Build a configuration."""
    return build_mount("share/some/dir/", "mnt", flags, {"HOME": "/h"} | (environment or {}))


def test_defaults():
    """Without settings the mount is the user's own and believes for a second."""
    made = build({})

    assert (made.share, made.directory) == ("share", "some/dir")
    assert made.mountpoint == Path.cwd() / "mnt"
    assert (made.presentation.uid, made.presentation.gid) == (os.getuid(), os.getgid())
    assert (made.presentation.file_mode, made.presentation.symlinks) == (0o755, "mf")
    assert (made.sharing.attr_ttl, made.sharing.on_conflict) == (1.0, "fail")
    assert made.limits.operation_timeout == 60
    assert made.log.level == "warning"
    assert not made.foreground


def test_every_option_arrives():
    """Each option changes the configuration, from a flag and from its variable alike."""
    texts = {
        "uid": "7", "gid": "8", "file-mode": "640", "dir-mode": "750", "umask": "022",
        "strict-modes": "true", "symlinks": "off", "read-only": "true", "no-exec": "true",
        "allow-other": "true", "consistency": "ttl", "attr-ttl": "5", "dir-ttl": "6",
        "on-conflict": "copy", "exclusive-create": "mount", "cache-dir": "/c", "cache-size": "1M",
        "cache-memory": "2M", "state-dir": "/s", "staging-limit": "3M",
        "operation-timeout": "10", "transfer-timeout": "20", "max-connections": "4",
        "max-requests": "3", "limit-read": "1M", "limit-write": "2M", "limit-requests": "9",
        "transport": "httpx",
        "max-names": "5", "foreground": "true", "drain-timeout": "30",
        "metrics": "127.0.0.1:9100", "log-level": "debug", "log-format": "json",
        "log-file": "/l", "locks": "auto", "lock-session-ttl": "6", "lock-timeout": "7",
        "break-foreign-leases": "true",
    }  # fmt: skip
    by_flag = build({name.replace("-", "_"): text for name, text in texts.items()})
    by_variable = build(
        {}, {"AZFILESFS_" + name.replace("-", "_").upper(): text for name, text in texts.items()}
    )

    assert by_flag.presentation == by_variable.presentation
    assert by_flag.sharing == by_variable.sharing
    assert (
        by_flag.locks
        == by_variable.locks
        == LockConfig(locks="auto", lock_session_ttl=6, lock_timeout=7.0, break_foreign_leases=True)
    )
    assert by_flag.limits == by_variable.limits
    assert by_flag.log == by_variable.log
    shown = by_flag.presentation
    assert (shown.uid, shown.gid, shown.file_mode, shown.dir_mode, shown.umask) == (
        *(7, 8, 0o640),
        *(0o750, 0o022),
    )
    assert (shown.strict_modes, shown.read_only, shown.no_exec, shown.allow_other) == (True,) * 4
    assert (by_flag.storage.cache, by_flag.storage.state) == (Path("/c"), Path("/s"))
    assert by_flag.storage.staging_limit == 3 * 2**20
    assert by_flag.limits.transport == "httpx"
    assert by_flag.metrics == HostPort("127.0.0.1", 9100)
    assert (by_flag.foreground, by_flag.drain_timeout) == (True, 30)
    assert set(texts) == {o.name for o in MOUNT_OPTIONS} - {
        *("account", "key-file", "sas-file", "connection-string-file", "credentials"),
        *("endpoint", "ca-file", "close", "single-writer", "permissions"),
    }


def test_the_file_is_read(tmp_path):
    """The configuration file is found by name, and the share's own table rules in it."""
    path = tmp_path / "c.toml"
    path.write_text("[mount]\nattr-ttl = 7\ndir-ttl = 7\n[share.share]\ndir-ttl = 9\n")

    for flags, environment in (
        ({"config": str(path)}, {}),
        ({}, {"AZFILESFS_CONFIG": str(path)}),
    ):
        made = build(flags, environment)
        assert (made.sharing.attr_ttl, made.sharing.dir_ttl) == (7, 9)


def test_asynchronous_close():
    """It is asked for, never the default."""
    assert build({}).sharing.close == "sync"
    assert build({"close": "async"}).sharing.close == "async"


def test_unchecked_permissions():
    """They are asked for, never the default."""
    assert build({}).presentation.permissions == "checked"
    assert build({"permissions": "unchecked"}).presentation.permissions == "unchecked"
    assert build({"permissions": "checked", "allow_other": "true"}).presentation.allow_other


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ({"permissions": "unchecked", "allow_other": "true"}, {}),
        ({"permissions": "unchecked"}, {"AZFILESFS_ALLOW_OTHER": "true"}),
        ({"allow_other": "true"}, {"AZFILESFS_PERMISSIONS": "unchecked"}),
    ],
)
def test_unchecked_permissions_are_not_for_others(flags, environment):
    """Where other users get in, modes are all that holds them back; wherever it was said."""
    with pytest.raises(ConfigurationError, match="--allow-other and --permissions=unchecked"):
        build(flags, environment)


def test_a_single_writer_keeps_locks_to_itself():
    """It is asked for, never the default; locks are local then unless somebody wants others."""
    assert not build({}).sharing.single_writer
    for flags in ({}, {"locks": "local"}):
        made = build({"single_writer": "true", **flags})
        assert made.sharing.single_writer
        assert made.locks == LockConfig(locks="local")


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ({"locks": "service"}, {}),
        ({"locks": "auto"}, {}),
        ({}, {"AZFILESFS_LOCKS": "service"}),
        ({"read_only": "true"}, {}),
    ],
)
def test_a_single_writer_contradicts(flags, environment):
    """Locks between hosts, be it the default that is asked for, and a mount that cannot write."""
    with pytest.raises(ConfigurationError, match="--single-writer"):
        build({"single_writer": "true", **flags}, environment)


@pytest.mark.parametrize("target", ["", "/", "https://acc.file.core.windows.net/share"])
def test_a_share_is_named(target):
    """A URL or nothing is no share."""
    with pytest.raises(ConfigurationError, match="name"):
        split_share(target)


def test_a_share_and_its_directory():
    """Slashes at the ends mean nothing."""
    assert split_share("share") == ("share", "")
    assert split_share("/share/a/b/") == ("share", "a/b")


@pytest.mark.parametrize(
    ("environment", "uid", "cache", "state", "config"),
    [
        ({"HOME": "/h"}, 5, "/h/.cache/a", "/h/.local/state/a", "/h/.config/a"),
        ({"HOME": "/root"}, 0, "/var/cache/a", "/var/lib/a", "/root/.config/a"),
        ({}, 0, "/var/cache/a", "/var/lib/a", "/.config/a"),
        (
            {"XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/k"},
            *(0, "/c/a", "/s/a", "/k/a"),
        ),
        (
            {"CACHE_DIRECTORY": "/svc/c:/x", "STATE_DIRECTORY": "/svc/s", "XDG_CACHE_HOME": "/c"},
            *(0, "/svc/c", "/svc/s", "/.config/a"),
        ),
        (
            {"HOME": "/h", "XDG_CACHE_HOME": "relative"},
            *(5, "/h/.cache/a", "/h/.local/state/a", "/h/.config/a"),
        ),
    ],
    ids=["user", "root", "bare", "xdg", "systemd", "relative"],
)
def test_base_directories(environment, uid, cache, state, config):
    """The XDG directories, /var for root, systemd's before both; relative ones are ignored."""
    found = base_directories(environment, uid)

    shown = [str(path) for path in (found.cache, found.state, found.config)]
    expected = [
        path.removesuffix("/a") + "/azfilesfs" * path.endswith("/a")
        for path in (cache, state, config)
    ]
    assert shown == expected


def test_runtime_directories():
    """Running mounts are registered in the runtime directory, root's in /run, else in the state."""
    state = "/h/.local/state/azfilesfs/running"
    user = base_directories({"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/5"}, 5).runtime
    assert [str(path) for path in user] == ["/run/user/5/azfilesfs", state]
    assert [str(path) for path in base_directories({"HOME": "/h"}, 5).runtime] == [state]
    root = base_directories({"HOME": "/root"}, 0).runtime
    assert [str(path) for path in root] == ["/run/azfilesfs", "/var/lib/azfilesfs/running"]


def test_mounts_have_names_of_their_own():
    """Another endpoint, share, directory or mountpoint is another mount; the same is the same."""
    parts = [
        ("https://a.example", "s", "", Path("/m")),
        ("https://b.example", "s", "", Path("/m")),
        ("https://a.example", "s/", "", Path("/m")),
        ("https://a.example", "s", "d", Path("/m")),
        ("https://a.example", "s", "", Path("/m2")),
        ("https://a.example", "sd", "", Path("/m")),
    ]

    assert len({mount_id(*some) for some in parts}) == len(parts)
    assert mount_id(*parts[0]) == mount_id("https://A.example/", "s", "", Path("/m"))


def test_the_emulator(tmp_path):
    """The emulator's settings come the same way, by variables of its own."""
    made = build_emulator(["one", "two"], {"listen": "127.0.0.1:7"}, {"HOME": "/h"})
    assert (made.listen, made.shares) == (HostPort("127.0.0.1", 7), ("one", "two"))
    assert (made.account, made.key, made.data, made.http) == (None, None, None, False)

    environment = {
        "HOME": "/h",
        "AZFILESFS_EMULATOR_HTTP": "1",
        "AZFILESFS_EMULATOR_KEY": "aGlkZGVu",
    }
    made = build_emulator([], {}, environment)
    assert made.http
    assert made.key == "aGlkZGVu"
    assert "aGlkZGVu" not in repr(made)
