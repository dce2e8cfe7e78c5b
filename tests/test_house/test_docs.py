"""The documentation agrees with what is there."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.features import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
REFERENCE = REPOSITORY / "docs" / "reference" / "configuration.md"
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?: {4}.*(?:\n|$))+")
INLINE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?<![\w./@-])azfilesfs ([a-z][a-z-]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def text(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def code_in(page: Path) -> list[str]:
    """Return what stands as code on the page: fenced, indented or inline."""
    found = FENCED.findall(text(page))
    for paragraph in re.split(r"\n\s*\n", FENCED.sub("", text(page))):
        found += [paragraph] if INDENTED.fullmatch(paragraph) else INLINE.findall(paragraph)
    return found


def commands_in(page: Path) -> set[str]:
    """Return the commands of azfilesfs that the page shows as code."""
    return {name for code in code_in(page) for name in COMMAND.findall(code)}


@cache
def help_of(*command: str) -> str:
    """Return what ``azfilesfs COMMAND --help`` prints."""
    return subprocess.run(
        [Path(sys.executable).parent / "azfilesfs", *command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@cache
def commands() -> tuple[str, ...]:
    """Return the commands that ``azfilesfs --help`` offers."""
    listed = help_of().partition("\ncommands:\n")[2].partition("\n\n")[0]
    return tuple(re.findall(r"^ {4}([a-z][a-z-]*)\b", listed, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path):
    """Each relative link leads to a file of this repository."""
    broken = [link for link in LINK.findall(text(page)) if not (page.parent / link).exists()]

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_exist(page: Path):
    """Each command that a page shows is one that azfilesfs has."""
    assert commands_in(page) <= set(commands())


def test_readme_names_the_two_commands():
    """The README leads to the demonstration and to the tests, and both can be run."""
    for script in ("scripts/demo", "scripts/test"):
        assert script in text(REPOSITORY / "README.md")
        assert (REPOSITORY / script).stat().st_mode & 0o111


def test_every_page_is_in_the_index():
    """No page of docs/ can be found only by listing the folder."""
    index = REPOSITORY / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(text(index))}

    assert [page.name for page in PAGES[1:] if page != index and page not in linked] == []


def test_every_command_is_in_the_reference():
    """The reference shows each command."""
    assert set(commands()) <= commands_in(REFERENCE)


@pytest.mark.parametrize("command", ["mount", "umount", "emulator"])
def test_options_are_in_the_reference(command: str):
    """Each option that a main command offers is explained in the reference."""
    offered = set(OPTION.findall(help_of(command))) - {"--help"}

    assert sorted(offered - set(OPTION.findall(text(REFERENCE)))) == []


def test_reference_invents_no_options():
    """The reference names no option of azfilesfs that no command has."""
    offered = {option for name in commands() for option in OPTION.findall(help_of(name))}

    assert sorted(set(OPTION.findall(text(REFERENCE))) - offered - {"--help", "--version"}) == []
