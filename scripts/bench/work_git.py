"""What git does: a clone, its status, and its removal."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from scripts.bench.contenders import Session
from scripts.bench.context import Context
from scripts.bench.service import BenchService
from scripts.bench.sight import Sight, local_sizes, wait_for_rest
from scripts.bench.small_gate import gate_files, small_gate

PAUSE: Final = 2.0
"""Seconds after the tree was looked at for its sizes, in which what that made known grows old."""

_GIT: Final = (
    "git", "-c", "user.name=bench", "-c", "user.email=bench@example.invalid", "-c", "gc.auto=0",
    "-c", "safe.directory=*",
)  # fmt: skip


def make_repository(path: Path, files: int) -> None:
    """Make a bare repository with one commit of that many files of 4 KiB, 20 in a directory."""
    work = path.with_name("work")
    for number in range(files):
        folder = work / f"dir-{number // 20:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number:06d}.txt").write_text(os.urandom(2048).hex())
    run_git(work, "init", "--quiet", "--initial-branch=main")
    run_git(work, "add", ".")
    run_git(work, "commit", "--quiet", "--message", "files")
    run_git(work.parent, "clone", "--quiet", "--bare", str(work), str(path))
    shutil.rmtree(work)


def run_git(where: Path, *words: str) -> None:
    """Run git with settings of its own, not those of the user."""
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
                    folder = f"clone-{turn}-{name}"
                    _clone(context, service, made, name, folder)
                    time.sleep(PAUSE)
                    _status(context, service, made, name, folder)
                    _remove(context, service, made, name, folder)


def _clone(context: Context, service: BenchService, made: Session, name: str, folder: str) -> None:
    """Clone, and wait until a second client sees every file that the mount shows, with its size.

    What the mount shows is looked at after the second client's first look, so that it takes no
    time from a contender whose files are all there by then.
    """
    files: int = context.setting("files")
    target, repository = made.path / folder, context.disk / "repository.git"
    sight = Sight(service, folder)
    with context.timed(name, service, made):
        started = time.perf_counter()
        run_git(
            made.path, "clone", "--quiet", "--no-hardlinks", f"file://{repository}", str(target)
        )
        returned = time.perf_counter() - started
        sight.look()
        seen, counts = time.perf_counter() - started, service.rest.counts()
        shown = local_sizes(target)
        if len(shown) < files:
            raise OSError(f"{name}: {len(shown)} files after a clone of {files}")
        if not sight.shows(shown):
            sight.wait_for(shown)
            seen, counts = time.perf_counter() - started, service.rest.counts()
    context.record("clone seconds", name, returned)
    context.record("clone seconds to visibility", name, seen)
    context.record("clone requests a file", name, counts.requests / files)


def _status(context: Context, service: BenchService, made: Session, name: str, folder: str) -> None:
    """Ask for the status twice."""
    files: int = context.setting("files")
    target = made.path / folder
    with context.timed(name, service, made) as status:
        run_git(target, "status", "--porcelain")
    with context.timed(name, service, made) as again:
        run_git(target, "status", "--porcelain")
    context.record("status seconds", name, status.seconds)
    context.record("status requests a file", name, status.counts.requests / files)
    context.record("status again seconds", name, again.seconds)
    context.record("status again requests a file", name, again.counts.requests / files)


def _remove(context: Context, service: BenchService, made: Session, name: str, folder: str) -> None:
    """Remove the clone, and wait until a second client does not see it any more.

    What ``git status`` has written is sent before that: a directory in which an upload ends
    meanwhile could not be removed.
    """
    wait_for_rest(service)
    with context.timed(name, service, made) as removed:
        started = time.perf_counter()
        done = subprocess.run(
            ["rm", "-rf", str(made.path / folder)],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        returned = time.perf_counter() - started
        if done.returncode == 0:
            Sight(service, folder).wait_until_gone()
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        context.note(f"{name} could not remove the clone: {words[0]}")
        return
    context.record("rm seconds", name, returned)
    context.record("rm seconds to visibility", name, removed.seconds)
    context.record("rm requests a file", name, removed.counts.requests / context.setting("files"))
