"""Names rather than bytes: listings of large directories, and what git does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from scripts.bench.contenders import Session
from scripts.bench.context import Context
from scripts.bench.seed import many_files
from scripts.bench.service import BenchService
from scripts.bench.small_gate import gate_files, small_gate

PAGE: Final = 5000
_GIT: Final = (
    "git", "-c", "user.name=bench", "-c", "user.email=bench@example.invalid", "-c", "gc.auto=0",
    "-c", "safe.directory=*",
)  # fmt: skip


def list_long(path: Path) -> None:
    """Run ``ls -l`` without showing what it says."""
    subprocess.run(
        ["ls", "-l", str(path)],
        env=os.environ | {"LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=900,
    )


def listing(context: Context) -> None:
    """List a directory cold, and again while the listing may be believed."""
    latency: float = context.setting("latency")
    for entries in context.setting("entries"):
        files = [*many_files("names", entries, PAGE), *many_files("warm", entries, PAGE)]
        with context.service(files) as service:
            for _, name in context.turns():
                service.rest.set_latency(latency)
                with context.session(name, service) as made:
                    if made is not None:
                        _list_both(context, service, made, name, entries)


def _list_both(
    context: Context, service: BenchService, made: Session, name: str, entries: int
) -> None:
    label = f"{entries:,} entries"
    list_long(made.path / "warm")
    with context.timed(name, service, made) as cold:
        list_long(made.path / "names")
    with context.timed(name, service, made) as again:
        list_long(made.path / "names")
    context.record(f"seconds cold, {label}", name, cold.seconds)
    context.record(f"requests cold, {label}", name, cold.counts.requests)
    context.record(f"seconds again, {label}", name, again.seconds)
    context.record(f"requests again, {label}", name, again.counts.requests)


def make_repository(path: Path, files: int) -> None:
    """Make a bare repository with one commit of that many files of 4 KiB, 20 in a directory."""
    work = path.with_name("work")
    for number in range(files):
        folder = work / f"dir-{number // 20:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number:06d}.txt").write_text(os.urandom(2048).hex())
    _git(work, "init", "--quiet", "--initial-branch=main")
    _git(work, "add", ".")
    _git(work, "commit", "--quiet", "--message", "files")
    _git(work.parent, "clone", "--quiet", "--bare", str(work), str(path))
    shutil.rmtree(work)


def _git(where: Path, *words: str) -> None:
    command = [*_GIT, "-C", str(where), *words]
    variables = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
    subprocess.run(command, env=variables, check=True, timeout=900, stdout=subprocess.DEVNULL)


def git(context: Context) -> None:
    """Clone a repository into the mount, ask for its status twice, remove it."""
    files: int = context.setting("files")
    repository = context.disk / "repository.git"
    shutil.rmtree(repository, ignore_errors=True)
    make_repository(repository, files)
    with context.service(gate_files()) as service:
        small_gate(context, service, context.setting("latency"))
        for turn, name in context.turns():
            service.rest.set_latency(context.setting("latency"))
            with context.session(name, service) as made:
                if made is not None:
                    _git_steps(context, service, made, name, f"clone-{turn}-{name}")


def _git_steps(
    context: Context, service: BenchService, made: Session, name: str, folder: str
) -> None:
    files: int = context.setting("files")
    repository = context.disk / "repository.git"
    target = made.path / folder
    with context.timed(name, service, made) as cloned:
        _git(made.path, "clone", "--quiet", "--no-hardlinks", f"file://{repository}", str(target))
    with context.timed(name, service, made) as status:
        _git(target, "status", "--porcelain")
    with context.timed(name, service, made) as again:
        _git(target, "status", "--porcelain")
    with context.timed(name, service, made) as removed:
        subprocess.run(["rm", "-rf", str(target)], check=True, timeout=900)
    context.record("clone seconds", name, cloned.seconds)
    context.record("clone requests a file", name, cloned.counts.requests / files)
    context.record("status seconds", name, status.seconds)
    context.record("status again seconds", name, again.seconds)
    context.record("status again requests a file", name, again.counts.requests / files)
    context.record("rm seconds", name, removed.seconds)
    context.record("rm requests a file", name, removed.counts.requests / files)
