"""Parsing command lines, and turning failures into one line and a status."""

import argparse
import os

import pytest

from azfilesfs.cli.main import build_parser, guarded, main
from azfilesfs.cli.mount_helper import main as helper
from azfilesfs.cli.mount_helper import to_flags
from azfilesfs.cli.parsing import Parser, add_options, given, refuse
from azfilesfs.config.exit_codes import CommandFailed, ExitCode
from azfilesfs.config.mount_options import MOUNT_OPTIONS
from azfilesfs.config.options import option, switch
from azfilesfs.errors import ConfigurationError, ServerBusy
from tests.features import REPOSITORY

TABLE = (
    option("attr-ttl", "times", "how long", default="1", metavar="SECONDS"),
    option("symlinks", "kinds", "which", choices=("mf", "off")),
    switch("read-only", "kinds", "whether"),
)


@pytest.fixture
def parser() -> Parser:
    """Make a parser with some options."""
    made = Parser(prog="azfilesfs x")
    made.add_argument("share")
    add_options(made, TABLE)
    refuse(made, "key", "use --key-file")
    return made


def test_options_of_a_table(parser: Parser):
    """Flags follow from a table; only what stood on the command line is taken from it."""
    parsed = parser.parse(["s", "--attr-ttl", "5", "--read-only"])

    assert parsed.share == "s"
    assert given(parsed, TABLE) == {"attr_ttl": "5", "read_only": "true"}
    shown = parser.format_help()
    assert "--attr-ttl SECONDS" in shown
    assert "(default: 1)" in shown
    assert "--symlinks {mf,off}" in shown
    assert "--key" not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: share"),
        (["s", "--attr", "5"], "unknown: --attr (see"),
        (["s", "--secret=hidden"], "unknown: --secret (see"),
        (["s", "hidden"], "too many arguments (see"),
        (["s", "--key", "hidden"], "use --key-file"),
        (["s", "--key=hidden"], "use --key-file"),
        (["s", "--key"], "use --key-file"),
        (["s", "--attr-ttl"], "expected one argument"),
    ],
)
def test_wrong_command_lines(parser: Parser, words: list[str], said: str):
    """A wrong command line is one line that repeats no value."""
    with pytest.raises(CommandFailed) as caught:
        parser.parse(words)

    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (CommandFailed(ExitCode.NOT_FOUND, "two\nlines"), 4, "two lines"),
        (ConfigurationError("wrong"), 2, "wrong"),
        (ServerBusy("later", status=503), 1, "later (status 503)"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oops"), 70, "internal error: ZeroDivisionError: oops"),
    ],
)
def test_failures_become_one_line(failure, code, said, capsys):
    """Whatever a command raises is one line on standard error and a status; never a traceback."""

    def work() -> int:
        raise failure

    assert guarded(work, "azfilesfs") == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"azfilesfs: {said}\n")


def test_a_reader_that_has_had_enough(monkeypatch):
    """If whoever reads the output goes away, the command ends quietly."""
    duplicated = []
    monkeypatch.setattr(os, "dup2", lambda one, other: duplicated.append(other))

    def work() -> int:
        raise BrokenPipeError

    assert guarded(work, "azfilesfs") == 0
    assert len(duplicated) == 1


def test_every_command_parses():
    """Each command is known by its name and has something to run."""
    parser = build_parser()
    for words in (
        ["mount", "s", "m"],
        ["umount", "m"],
        ["mv", "s/a", "s/b"],
        ["recover", "list"],
        ["emulator"],
        ["version"],
    ):
        assert callable(parser.parse(words).run)


def test_the_version(capsys):
    """``azfilesfs version`` prints it and succeeds."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("azfilesfs ")


def test_statuses_are_documented():
    """The page of exit statuses lists exactly those that there are."""
    page = (REPOSITORY / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| ")]
    listed = {(int(number), name.strip()) for number, name in rows if number.strip().isdecimal()}

    assert listed == {(code.value, code.name) for code in ExitCode}


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ("", {}),
        ("rw,defaults,_netdev,nofail,x-systemd.mount-timeout=5,comment=a", {}),
        ("ro,noexec", {"read_only": "true", "no_exec": "true"}),
        ("uid=5,file_mode=640,dir-mode=750", {"uid": "5", "file_mode": "640", "dir_mode": "750"}),
        ("allow_other,strict-modes=false", {"allow_other": "true", "strict_modes": "false"}),
        ("credentials=/etc/x,config=/etc/c", {"credentials": "/etc/x", "config": "/etc/c"}),
    ],
)
def test_mount_options_become_flags(options: str, flags: dict[str, str]):
    """Options of a line in fstab are ours, mount(8)'s own, or refused."""
    assert to_flags(options) == flags


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("frob", "unknown mount option 'frob'"),
        ("uid", "the mount option uid needs a value"),
        ("key=hidden", "use key-file=FILE"),
        ("account_key=hidden", "use key-file=FILE"),
        ("oauth", "not yet available"),
    ],
)
def test_wrong_mount_options(options: str, said: str):
    """What is unknown, incomplete, secret or planned is refused without its value."""
    with pytest.raises(CommandFailed) as caught:
        to_flags(options)

    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_sloppy_mounting_ignores_the_unknown():
    """With -s unknown options are ignored, as mount(8) says."""
    assert to_flags("frob=1,uid=5", sloppy=True) == {"uid": "5"}


def test_the_helper_has_the_statuses_of_mount(capsys, tmp_path, monkeypatch):
    """Wrong use is 1, a failed mount 32, a defect 4."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert helper(["s", "m", "-o", "frob"]) == 1
    assert helper(["share", str(tmp_path), "-o", "endpoint=https://x.example"]) == 1
    assert helper(["share", str(tmp_path), "-f"]) == 0
    assert "mount.azfilesfs: " in capsys.readouterr().err


@pytest.mark.parametrize(("code", "status"), [(0, 0), (2, 1), (70, 4), (5, 32)])
def test_statuses_of_mount(monkeypatch, code, status):
    """Each of our statuses becomes one of mount(8)'s."""
    monkeypatch.setattr("azfilesfs.cli.mount_helper.guarded", lambda work, name: code)

    assert helper([]) == status


def test_options_are_complete():
    """No two options share a name, and each has a help line without a full stop."""
    names = [found.name for found in MOUNT_OPTIONS]

    assert len(set(names)) == len(names)
    assert [found.name for found in MOUNT_OPTIONS if found.help.endswith(".")] == []


def test_namespaces_without_an_option():
    """An option that a command does not offer is not set."""
    assert given(argparse.Namespace(), TABLE) == {}
