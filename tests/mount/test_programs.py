"""Programs run unmodified on a mount."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.compare import picture
from tests.mount.harness import Emulator, Mount, run

pytestmark = [pytest.mark.mount]

GIT = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def git(*words: object, cwd: Path) -> str:
    """Run git with an identity of its own."""
    return run("git", *words, cwd=cwd, environment=GIT).stdout


def test_cp(tree: Path, folder: Path):
    """``cp -a`` copies a tree in and out again: contents, links and times."""
    run("cp", "-a", tree, folder / "copy")
    assert picture(folder / "copy") == picture(tree)

    run("cp", "-a", folder / "copy", folder / "second")
    assert picture(folder / "second") == picture(tree)
    run("diff", "-r", "--no-dereference", tree, folder / "second")


def test_tar(tree: Path, folder: Path, tmp_path: Path):
    """``tar`` unpacks a tree on the mount and packs it from there."""
    run("tar", "-C", tree, "-cf", tmp_path / "in.tar", ".")
    run("tar", "-C", folder, "-xf", tmp_path / "in.tar")
    run("tar", "-C", folder, "-cf", tmp_path / "out.tar", ".")
    (tmp_path / "out").mkdir()
    run("tar", "-C", tmp_path / "out", "-xf", tmp_path / "out.tar")

    # tar keeps whole seconds in this format.
    assert picture(folder, times=False) == picture(tree, times=False)
    assert picture(tmp_path / "out", times=False) == picture(tree, times=False)


@needs("git")
def test_git(tree: Path, folder: Path, tmp_path: Path, emulator: Emulator):
    """``git`` clones, finds its clone unchanged without reading a file, commits, and is sound."""
    origin = tmp_path / "origin"
    run("cp", "-a", tree, origin)
    git("init", "-q", cwd=origin)
    git("add", "-A", cwd=origin)
    git("commit", "-qm", "first", cwd=origin)

    git("clone", "-q", origin, folder / "clone", cwd=folder)
    emulator.reset()
    assert git("status", "--porcelain", cwd=folder / "clone") == ""
    asked = emulator.requests()
    assert "GetFile" not in asked, asked

    (folder / "clone" / "new").write_text("new\n")
    (folder / "clone" / "empty").write_text("no longer\n")
    git("add", "-A", cwd=folder / "clone")
    git("commit", "-qm", "second", cwd=folder / "clone")
    git("fsck", "--full", "--strict", cwd=folder / "clone")
    git("gc", "-q", cwd=folder / "clone")
    git("fsck", "--full", "--strict", cwd=folder / "clone")
    assert git("log", "--format=%s", cwd=folder / "clone").split() == ["second", "first"]


@needs("sqlite3")
def test_sqlite(folder: Path):
    """``sqlite3`` works in transactions with its rollback journal, and its file stays sound."""
    database = folder / "test.db"
    inserts = "".join(
        f"begin; insert into t select value, hex(randomblob(200)) from generate_series({n},{n}+9);"
        f" {'rollback' if n % 40 == 30 else 'commit'};\n"
        for n in range(0, 400, 10)
    )
    script = (
        f"pragma journal_mode=delete; create table t(a integer primary key, b text);\n{inserts}"
    )
    run("sqlite3", "-bail", database, stdin=script)

    shown = run("sqlite3", database, "pragma integrity_check; select count(*) from t").stdout
    assert shown.split() == ["ok", "300"]
    with sqlite3.connect(database) as again:
        again.execute("delete from t where a % 2")
        again.execute("update t set b = upper(b)")
    again.close()
    shown = run(
        "sqlite3", database, "pragma integrity_check; vacuum; select count(*) from t"
    ).stdout
    assert shown.split() == ["ok", "150"]
    assert os.listdir(folder) == ["test.db"]


@needs("rsync")
def test_rsync(tree: Path, folder: Path):
    """``rsync`` copies a tree; the second run transfers nothing."""
    for transferred in (None, "0"):
        shown = run("rsync", "-a", "--stats", f"{tree}/", f"{folder}/copy/").stdout
        found = re.search(r"Number of regular files transferred: ([\d,]+)", shown)
        assert found
        assert transferred in (None, found[1])

    assert picture(folder / "copy") == picture(tree)


def test_sed(folder: Path):
    """``sed -i`` replaces a file by its changed copy."""
    (folder / "f").write_text("one\ntwo\nthree\n" * 1000)
    run("sed", "-i", "s/two/2/", folder / "f")

    assert (folder / "f").read_text() == "one\n2\nthree\n" * 1000
    assert os.listdir(folder) == ["f"]


@needs("vim")
def test_vim(folder: Path, tmp_path: Path):
    """``vim`` changes a file in place, with swap and backup files beside it."""
    (folder / "f").write_text("one\ntwo\nthree\n")
    script = ["-c", "set backup backupdir=. backupskip=", "-c", "%s/two/2/", "-c", "wq"]
    run("vim", "-Nu", "NONE", "-es", *script, folder / "f", environment={"HOME": str(tmp_path)})

    assert (folder / "f").read_text() == "one\n2\nthree\n"
    assert sorted(os.listdir(folder)) == ["f", "f~"]


@needs("gcc")
def test_gcc(folder: Path):
    """``gcc`` builds a small project whose program runs from the mount."""
    (folder / "include").mkdir()
    (folder / "include" / "answer.h").write_text("int answer(void);\n")
    (folder / "answer.c").write_text('#include "answer.h"\nint answer(void) { return 42; }\n')
    (folder / "main.c").write_text(
        '#include <stdio.h>\n#include "answer.h"\nint main(void) { printf("%d\\n", answer()); }\n'
    )
    for name in ("answer", "main"):
        run("gcc", "-Iinclude", "-g", "-c", f"{name}.c", "-o", f"{name}.o", cwd=folder)
    run("ar", "rcs", "libanswer.a", "answer.o", cwd=folder)
    run("gcc", "-o", "program", "main.o", "-L.", "-lanswer", cwd=folder)

    assert run(folder / "program").stdout == "42\n"


@pytest.mark.slow
def test_venv(folder: Path):
    """``python -m venv --copies`` makes an environment whose Python runs and imports."""
    run(sys.executable, "-m", "venv", "--copies", "--without-pip", folder / "env")
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    (site / "mine.py").write_text("value = 'imported'\n")

    program = "import json, sqlite3, mine; print(mine.value)"
    for _ in range(2):  # the second run takes the compiled module from the mount
        assert run(folder / "env" / "bin" / "python", "-c", program).stdout == "imported\n"


@needs("zip")
@needs("unzip")
def test_zip(tree: Path, folder: Path):
    """``zip`` packs a tree on the mount and ``unzip`` unpacks it there."""
    run("cp", "-a", tree, folder / "tree")
    run("zip", "-qry", folder / "all.zip", ".", cwd=folder / "tree")
    run("unzip", "-tq", folder / "all.zip")
    run("unzip", "-q", folder / "all.zip", "-d", folder / "out")

    assert picture(folder / "out", times=False) == picture(tree, times=False)


@needs("fio")
@pytest.mark.slow
@pytest.mark.parametrize("how", ["randwrite", "randrw", "write"])
def test_fio(folder: Path, how: str):
    """``fio`` writes at random places and finds every block as it was written."""
    run(
        "fio",
        "--name=check",
        f"--directory={folder}",
        f"--rw={how}",
        "--bsrange=512-64k",
        "--size=6m",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--fsync=64",
        "--ioengine=psync",
        "--fallocate=none",
        "--randseed=7",
        cwd=folder,
    )


def test_everything_is_there_after_a_remount(tree: Path, new_mount: Callable[..., Mount]):
    """After unmounting, with nothing cached, ``find``, ``sort`` and ``md5sum`` say the same."""
    made = new_mount("others")
    run("cp", "-a", tree, made.path / "everything")
    made.umount()
    made.forget_cache()
    made.mount()

    def sums(root: Path) -> str:
        pipe = "find . -type f -print0 | sort -z | xargs -0 md5sum; find . | sort"
        return subprocess.run(
            pipe, shell=True, cwd=root, check=True, capture_output=True, text=True
        ).stdout

    assert sums(made.path / "everything") == sums(tree)
    assert picture(made.path / "everything") == picture(tree)


def facts(stat: os.stat_result) -> tuple[int, ...]:
    """Return what a program may rely on."""
    return (
        stat.st_ino,
        stat.st_mode,
        stat.st_size,
        stat.st_blocks,
        stat.st_mtime_ns,
        stat.st_ctime_ns,
        stat.st_nlink,
    )


@pytest.mark.parametrize("size", [0, 5, 5_000_000], ids=["empty", "small", "of two ranges"])
def test_stat_does_not_change_by_closing(new_mount: Callable[..., Mount], size: int):
    """fstat before close, stat after close and stat after a remount say the same.

    The inode number stays while the mount does: a file gets the service's number only with a
    later mount, since the kernel knew it before the service did.
    """
    made = new_mount("others")
    path = made.path / f"file {size}"
    with path.open("wb") as file:
        file.write(b"x" * size)
        file.flush()
        before = facts(os.fstat(file.fileno()))
    after = facts(path.stat())
    made.umount()
    made.forget_cache()
    made.mount()
    later = facts(path.stat())

    assert before == after
    assert after[1:] == later[1:]
