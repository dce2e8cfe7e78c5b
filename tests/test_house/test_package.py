"""What is built and installed, tested without the source tree."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import azfilesfs
from tests.features import REPOSITORY

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


COMPILED = f"azfilesfs/fuse/_optable{sysconfig.get_config_var('EXT_SUFFIX')}"


def build(kind: str, work: Path) -> None:
    """Build a wheel or an sdist into a folder from a copy, so that the tree stays as it is."""
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "azfilesfs"):
        subprocess.run(["cp", "-r", REPOSITORY / name, source], check=True)
    for old in source.rglob("*.so"):
        old.unlink()
    program = f"import sys; from setuptools import build_meta as b; b.build_{kind}(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, work],
        cwd=source,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    work = tmp_path_factory.mktemp("wheel")
    build("wheel", work)
    return next(work.glob("*.whl"))


def test_wheel_holds_everything(wheel: Path):
    """The wheel contains every module, the marker for type hints and the licence, and no tests."""
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "azfilesfs").rglob("*.py")
    }

    assert modules <= names
    assert {"azfilesfs/py.typed", "azfilesfs/fuse/optable.c", COMPILED} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_sdist_holds_what_is_compiled(tmp_path: Path):
    """The sdist contains the C source and what says how to build it, and nothing built."""
    build("sdist", tmp_path)

    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "azfilesfs/fuse/optable.c"} <= names
    assert not any(name.endswith(".so") for name in names)


@pytest.mark.slow
def test_wheel_works_without_the_tree(wheel: Path, tmp_path: Path):
    """Every module of the unpacked wheel imports where the source tree is not on the path."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    modules = [
        str(path.relative_to(tmp_path).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in sorted((tmp_path / "azfilesfs").rglob("*.py"))
        if path.name != "__main__.py"
    ]
    program = (
        "import sys, importlib\n"
        f"sys.path[:0] = [{str(tmp_path)!r}]\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from azfilesfs.fuse import optable\n"
        "assert optable.probe() is None, optable.probe()\n"
        "print(sys.modules['azfilesfs'].__file__)"
    )
    # -S keeps the editable install's hook out; the libraries are added behind the wheel.
    outcome = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": sysconfig.get_path("platlib")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip() == str(tmp_path / "azfilesfs" / "__init__.py")


@pytest.mark.parametrize("name", PYPROJECT["project"]["scripts"])
def test_console_scripts_load(name: str):
    """Each console script is installed and its function exists."""
    (found,) = entry_points(group="console_scripts", name=name)

    assert callable(found.load())
    assert (Path(sys.executable).parent / name).exists()


def test_version_stands_in_one_place():
    """The installed metadata and the changelog agree with the package about the version."""
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.fullmatch(r"\d+\.\d+\.\d+", azfilesfs.__version__)
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert f"## [{azfilesfs.__version__}]" in changelog or "## [Unreleased]" in changelog
