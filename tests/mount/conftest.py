"""One emulator and one mount for the whole run, a directory for each test."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import features
from tests.mount.harness import Emulator, Mount, mounted, run, running_emulator

SHARES = ("tests", "others", "third")


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run an emulator with some shares."""
    folder = tmp_path_factory.mktemp("emulator")
    with running_emulator(folder, "--share", *SHARES) as running:
        yield running


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Emulator]:
    """Run an emulator with a share that nobody else uses: other mounts may send heartbeats."""
    with running_emulator(tmp_path, "--share", "share") as running:
        yield running


@pytest.fixture(scope="session")
def common(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount one share for all tests that only want a filesystem."""
    if reason := features.fuse_missing():
        pytest.skip(reason)
    with mounted(tmp_path_factory.mktemp("common"), emulator, "tests") as made:
        yield made


@pytest.fixture
def folder(common: Mount, request: pytest.FixtureRequest) -> Path:
    """Make an empty directory on the common mount."""
    path = common.path / f"{request.node.name[:60]}-{next(_NUMBERS)}"
    path.mkdir()
    return path


@pytest.fixture
def new_mount(emulator: Emulator, tmp_path: Path) -> Iterator[Callable[..., Mount]]:
    """Return what makes a mount of its own, ``new_mount(target, *flags)``, ended after the test."""
    with ExitStack() as stack:

        def make(target: str = "others", *flags: str) -> Mount:
            place = tmp_path / f"mount{next(_NUMBERS)}"
            return stack.enter_context(mounted(place, emulator, target, *flags))

        yield make


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a source tree with what real ones have: links, empty things, odd names, one big file."""
    root = tmp_path_factory.mktemp("source") / "tree"
    run("cp", "-r", Path(__file__).parents[2] / "azfilesfs" / "model", _made(root) / "package")
    (root / "empty directory").mkdir()
    (root / "empty").touch()
    (root / "deep" / "er" / "still").mkdir(parents=True)
    (root / "deep" / "er" / "still" / "naïve – 名前.txt").write_text("ünïcode\n")
    (root / 'quotes " and * stars?').write_text("mapped\n")
    (root / "trailing dot.").write_text("dot\n")
    (root / "link").symlink_to("package/limits.py")
    (root / "deep" / "up").symlink_to("../empty directory")
    (root / "dangling").symlink_to("/nowhere/at/all")
    big = b"".join(number.to_bytes(4, "big") for number in range(2_400_000))
    (root / "big").write_bytes(big)
    subprocess.run(
        ["find", root, "-name", "__pycache__", "-prune", "-exec", "rm", "-r", "{}", "+"], check=True
    )
    return root


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


_NUMBERS = itertools.count()
