"""The house's order: which layer may use which, one importer per library, sizes.

Imports count wherever they stand: inside functions and under TYPE_CHECKING too.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.features import REPOSITORY

PACKAGE = REPOSITORY / "azfilesfs"

# Layer -> the layers it may import, beyond itself and the LEAVES.
ARROWS: dict[str, set[str]] = {
    "cli": {"daemon", "client", "emulator", "replay", "vfs", "model"},
    "daemon": {"fuse", "vfs", "cache", "client", "replay", "model"},
    "fuse": {"vfs", "model"},
    "vfs": {"cache", "client", "model"},
    "cache": {"model"},
    "client": {"model"},
    "replay": {"client", "model"},
    "emulator": {"model"},
    "model": set(),
    "obs": set(),
    "config": set(),
    "errors": set(),
    "__init__": set(),
    "__main__": {"cli"},
}
LEAVES = {"obs", "config", "errors", "__init__"}
PURE = {"model": {"errors", "__init__"}, "errors": {"__init__"}, "config": {"errors", "__init__"}}

# Third-party import -> the only modules or packages that may import it.
IMPORTERS = {
    "httpx": {"client.transport"},
    "httpcore": {"client.transport"},
    "httptools": {"client.transport.heads"},
    "diskcache": {"cache"},
    "xxhash": {"cache.blocks"},
    "pyfuse3": {"fuse"},
    "prometheus_client": {"obs"},
    "hypercorn": {"emulator.server"},
    "cryptography": {"emulator"},
}
EVERYWHERE = {"trio"}

MODULE_LINES = 400
FUNCTION_LINES = 60


@dataclass(frozen=True)
class Import:
    """One import statement's target, as seen from one module."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    """Name a module below the package: ``client.transport``; ``__init__`` is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def layer(module: str) -> str:
    """Return the layer that a module belongs to."""
    return module.partition(".")[0]


@cache
def sources() -> dict[str, Path]:
    """Return every module of the package with its file."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


def raw_targets(module: str) -> Iterator[tuple[str, int]]:
    """Yield each dotted name that the module imports, ``from a import b`` as ``a.b``."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {module}:{node.lineno}"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def internal(module: str) -> list[Import]:
    """Return the module's imports from this package, each resolved to a module."""
    found = []
    for target, line in raw_targets(module):
        head, _, rest = target.partition(".")
        if head == "azfilesfs":
            name = rest if rest in sources() else rest.rpartition(".")[0]
            found.append(Import(module, name or "__init__", line))
    return found


def external(module: str) -> list[Import]:
    """Return the module's imports from elsewhere, by their top-level name."""
    return [
        Import(module, target.partition(".")[0], line)
        for target, line in raw_targets(module)
        if target.partition(".")[0] != "azfilesfs"
    ]


def may_import(source: str, target: str) -> bool:
    """Tell whether the table allows an arrow between two layers."""
    allowed = ARROWS[source] | PURE.get(source, LEAVES) | {source}
    return target in allowed


@pytest.mark.parametrize("module", sources())
def test_arrows_point_downwards(module: str):
    """A module imports only from its own layer, from those its layer stands on, and from leaves."""
    assert layer(module) in ARROWS, f"{layer(module)} is no layer of the house"

    wrong = [str(i) for i in internal(module) if not may_import(layer(module), layer(i.target))]

    assert wrong == []


def test_replay_knows_only_the_transport_of_the_client():
    """Record and playback stand at the transport seam and see no more of the client than that."""
    seen = {i.target for module in sources() if layer(module) == "replay" for i in internal(module)}

    assert {name for name in seen if layer(name) == "client"} <= {"client.transport"}


def find_cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return the nodes of one cycle in order, or an empty list."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(edges.get(node, set())):
            if cycle := visit(target, [*path, node]):
                return cycle
        done.add(node)
        return []

    return next(filter(None, (visit(node, []) for node in sorted(edges))), [])


def test_find_cycle_finds_one():
    """The search names a cycle that is not reached from its own members first, and only cycles."""
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_cycles():
    """No module imports itself by any detour, types included."""
    edges = {
        module: {i.target for i in internal(module) if i.target != module} for module in sources()
    }

    assert find_cycle(edges) == []


@pytest.mark.parametrize("module", sources())
def test_each_library_has_one_importer(module: str):
    """A third-party library is imported in its own place only, and none but the known ones is."""
    wrong = []
    for found in external(module):
        if found.target in IMPORTERS:
            places = IMPORTERS[found.target]
            if not any(module == place or module.startswith(f"{place}.") for place in places):
                wrong.append(str(found))
        elif found.target not in EVERYWHERE and not is_standard(found.target):
            wrong.append(str(found))

    assert wrong == []


def is_standard(name: str) -> bool:
    """Tell whether a top-level name belongs to the standard library."""
    return name in sys.stdlib_module_names


def test_the_model_is_pure():
    """The model does no I/O and reads no clock: it imports nothing that could."""
    banned = {
        "io",
        "os",
        "pathlib",
        "random",
        "shutil",
        "socket",
        "subprocess",
        "threading",
        "trio",
    }
    wrong = [
        str(found)
        for module in sources()
        if layer(module) == "model"
        for found in external(module)
        if found.target in banned
    ]

    assert wrong == []


@pytest.mark.parametrize("module", sources())
def test_sizes(module: str):
    """Modules and functions stay small enough to be read in one go."""
    lines = sources()[module].read_text(encoding="utf-8").count("\n")
    long_functions = [
        f"{module}.{node.name}: {size} lines"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]

    assert lines <= MODULE_LINES
    assert long_functions == []


def test_every_package_is_regular():
    """Each folder with modules has an __init__, so that it is built into the wheel."""
    folders = {path.parent for path in sources().values()}

    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
