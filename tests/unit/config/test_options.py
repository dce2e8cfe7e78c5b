"""Flags, environment and file, in this order of strength."""

from pathlib import Path

import pytest

from azfilesfs.config import convert
from azfilesfs.config import file as config_file
from azfilesfs.config.options import Sources, option, switch
from azfilesfs.errors import ConfigurationError

TABLE = (
    option("attr-ttl", "g", "h", convert=convert.duration, default="1"),
    option("log-file", "g", "h", convert=convert.path),
    option("symlinks", "g", "h", choices=("mf", "off"), default="mf"),
    switch("read-only", "g", "h"),
)
FLAGS = {"attr_ttl": "2"}
ENVIRONMENT = {"AZFILESFS_ATTR_TTL": "3", "OTHER": "x"}
FILE = {"attr-ttl": "4"}


@pytest.mark.parametrize(
    ("flags", "environment", "file", "value"),
    [
        (FLAGS, ENVIRONMENT, FILE, 2.0),
        ({}, ENVIRONMENT, FILE, 3.0),
        ({}, {"AZFILESFS_ATTR_TTL": ""}, FILE, 4.0),
        ({}, {}, {}, 1.0),
    ],
    ids=["flag", "environment", "file", "default"],
)
def test_the_strongest_place_rules(flags, environment, file, value):
    """A flag beats the environment, which beats the file, which beats the default."""
    assert Sources(flags, environment, file).values(TABLE)["attr_ttl"] == value


def test_what_is_not_set_is_none():
    """An option without a default is None where nobody sets it, and a switch is off."""
    found = Sources({}, {}, {}).values(TABLE)

    assert (found["log_file"], found["read_only"]) == (None, False)
    assert Sources({"read_only": "true"}, {}, {}).values(TABLE)["read_only"] is True


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (Sources({"attr_ttl": "x"}, {}, {}), "--attr-ttl: must be a duration"),
        (Sources({}, {"AZFILESFS_READ_ONLY": "maybe"}, {}), "AZFILESFS_READ_ONLY: must be true"),
        (Sources({}, {}, {"symlinks": "no"}, "/x"), "symlinks in /x: must be one of mf, off"),
        (Sources({}, {}, {"colour": "red"}, "/x"), "/x: there is no option 'colour'"),
    ],
)
def test_a_wrong_value_is_located(sources, message):
    """The one line says where the wrong value stood and what was wanted."""
    with pytest.raises(ConfigurationError) as caught:
        sources.values(TABLE)

    assert str(caught.value).startswith(message)


def write(path: Path, text: str) -> Path:
    """Write a configuration file."""
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_has_tables(tmp_path):
    """A command has a table, a share one that is stronger; all kinds of plain values are taken."""
    path = write(
        tmp_path / "c.toml",
        '[mount]\nattr-ttl = 1.5\nmax-names = 7\nread-only = true\nlog-file = "/a"\n'
        '[share.data]\nlog-file = "/b"\n[emulator]\nhttp = true\n',
    )

    common = {"attr-ttl": "1.5", "max-names": "7", "read-only": "true", "log-file": "/a"}
    assert config_file.read(path, "mount", "other") == common
    assert config_file.read(path, "mount", "data") == common | {"log-file": "/b"}
    assert config_file.read(path, "emulator") == {"http": "true"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mount", "is not TOML"),
        ("[mout]\n", "there is no table [mout]"),
        ("mount = 3\n", "expected a table of options"),
        ("share = 3\n", "tables of shares are written"),
        ("[mount]\nlog-file = []\n", "must be a text, a number, true or false"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, text, message):
    """A file of another structure ends the command with one line."""
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(ConfigurationError) as caught:
        config_file.read(path, "mount", "share")

    assert message in str(caught.value)


def test_an_unreadable_file_is_refused(tmp_path):
    """A file that is not text, or cannot be opened, is named."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, reason in ((tmp_path / "binary", "UTF-8"), (tmp_path, "directory")):
        with pytest.raises(ConfigurationError, match=reason):
            config_file.read(path, "mount")


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    """The one named must exist; else the user's, else the system's, else none."""
    system = tmp_path / "system.toml"
    monkeypatch.setattr(config_file, "SYSTEM_FILE", system)
    home = tmp_path / "home"
    home.mkdir()

    assert config_file.find(None, home) is None
    write(system, "")
    assert config_file.find(None, home) == system
    own = write(home / "config.toml", "")
    assert config_file.find(None, home) == own
    assert config_file.find(str(system), home) == system
    with pytest.raises(ConfigurationError, match="does not exist"):
        config_file.find(str(tmp_path / "missing"), home)
