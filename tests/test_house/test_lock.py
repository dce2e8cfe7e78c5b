"""The lock file serves what pyproject.toml asks for, everywhere, safely."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.features import REPOSITORY

LOCK = (REPOSITORY / "scripts" / "requirements.lock").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def entries() -> dict[str, str]:
    """Return each locked package by its canonical name, with its whole entry."""
    joined = re.sub(r"\\\n\s*", " ", LOCK)
    lines = [line for line in joined.splitlines() if line and not line.lstrip().startswith("#")]
    return {canonicalize_name(line.partition("==")[0]): line for line in lines}


def wanted() -> list[Requirement]:
    """Return what the project and its test extra require directly."""
    project = PYPROJECT["project"]
    texts = project["dependencies"] + project["optional-dependencies"]["test"]
    return [Requirement(text) for text in texts]


def test_lock_satisfies_pyproject():
    """Every direct requirement is locked, to a version inside its range."""
    locked = entries()

    for requirement in wanted():
        entry = locked[canonicalize_name(requirement.name)]
        version = Version(entry.partition("==")[2].split()[0])
        assert requirement.specifier.contains(version), entry.split(" --hash")[0]


def test_every_entry_has_a_version_and_a_hash():
    """Nothing is installed that is not exactly the file that was locked."""
    for name, entry in entries().items():
        assert re.match(r"[\w.-]+==[\w.]+ ", entry), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name


def test_lock_names_no_index():
    """The lock works with whichever package index pip is set up for."""
    assert not re.search(r"https?://|--(extra-)?index|--find-links|file:", LOCK)


def test_requirements_are_ranges():
    """A runtime requirement is bounded below, and above unless only the emulator uses it."""
    for text in PYPROJECT["project"]["dependencies"]:
        operators = {specifier.operator for specifier in Requirement(text).specifier}
        assert ">=" in operators, text
        assert "<" in operators or Requirement(text).name == "cryptography", text
