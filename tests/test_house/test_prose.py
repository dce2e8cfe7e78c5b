"""What is written about the code stands where the code is, and nothing is left half done."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features import REPOSITORY

MODULES = sorted((REPOSITORY / "azfilesfs").rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("test_*.py"))
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """Name a file by its path in the repository."""
    return str(path.relative_to(REPOSITORY))


def public(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the public classes and functions of a body, and those of public classes."""
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or any(
            "overload" in ast.unparse(d) for d in node.decorator_list
        ):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_has_a_docstring(path: Path):
    """A module, a public class, function and method say what they are for."""
    tree = parsed(path)
    silent = [node.name for node in public(tree.body) if not ast.get_docstring(node)]

    assert ast.get_docstring(tree)
    assert silent == []


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_every_test_says_what_it_shows(path: Path):
    """Each test states the behaviour that it shows."""
    silent = [
        node.name
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_left_half_done(path: Path):
    """No marker of unfinished work is shipped; abstract things are protocols."""
    assert UNFINISHED.findall(path.read_text(encoding="utf-8")) == []
