"""Where the operation table can be completed, where it cannot, and that it is said why."""

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from azfilesfs.fuse import optable
from azfilesfs.fuse.optable import Kind, OperationTable, Unavailable
from azfilesfs.fuse.requests import Handlers
from tests.features import REPOSITORY

# Other names in the source, since the headers of libfuse have their own ideas of the real ones.
NAMES = """
#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>
#include <stddef.h>
typedef struct fuse_lowlevel_ops ops_t;
void *new_versioned(void *args, const ops_t *ops, size_t size, void *version, void *userdata)
    __asm__("fuse_session_new_versioned");
void *new_old(void *args, const ops_t *ops, size_t size, void *userdata)
    __asm__("fuse_session_new");
"""

# A libfuse as from 3.17 on: a constructor with a version, and the old name on top of it.
NEW_LIBFUSE = f"""{NAMES}
int calls, has_flock, has_lseek, has_lookup;
void *new_versioned(void *args, const ops_t *ops, size_t size, void *version, void *userdata) {{
    (void)args;
    calls++;
    has_flock = size >= sizeof *ops && ops->flock != NULL;
    has_lseek = size >= sizeof *ops && ops->lseek != NULL;
    has_lookup = ops->lookup != NULL;
    return version != NULL ? version : userdata;
}}
#ifndef WITHOUT_OLD_NAME
void *new_old(void *args, const ops_t *ops, size_t size, void *userdata) {{
    return new_versioned(args, ops, size, NULL, userdata);
}}
#endif
"""

# What a program compiled with its headers refers to.
CALLER = f"""{NAMES}
static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {{
    (void)req, (void)parent, (void)name;
}}
static const ops_t ops = {{.lookup = on_lookup}};
void *call_new(size_t size) {{
    return new_versioned(NULL, &ops, size ? size : sizeof ops, (void *)7, (void *)8);
}}
void *call_old(void) {{ return new_old(NULL, &ops, sizeof ops, (void *)9); }}
"""

INTERPOSED = """
import ctypes, pathlib, sys
from azfilesfs.fuse import optable
new, caller = map(pathlib.Path, sys.argv[1:])
table = optable.load()
libfuse = ctypes.CDLL(new)
optable._resolve(table._library, new)
library = ctypes.CDLL(caller)
library.call_new.argtypes = [ctypes.c_size_t]
def seen():
    names = ("calls", "has_flock", "has_lseek", "has_lookup")
    return [ctypes.c_int.in_dll(libfuse, name).value for name in names]
print(library.call_new(0), seen(), table._library.optable_sessions())
table.register(["flock"])
print(library.call_new(0), seen(), table.is_interposed)
table.stop()
table.register(["lseek"])
print(table.is_interposed)
print(library.call_old(), seen(), table._library.optable_sessions())
print(library.call_new(32), seen())
"""


TOO_LATE = """
import ctypes, pathlib, sys
import pyfuse3
from azfilesfs.fuse import optable
from azfilesfs.fuse.dispatcher import dispatching
from azfilesfs.fuse.guard import Deadlines, Guard
from azfilesfs.fuse.notifier import PyfuseNotifier
from azfilesfs.fuse.operations import Operations
from azfilesfs.fuse.requests import Handlers
from azfilesfs.fuse.session import MountFailed, MountOptions, mounted
from tests.unit.fuse.memory import MemoryFilesystem
table = optable.OperationTable(optable._open(optable._find(), ctypes.RTLD_GLOBAL))
guard = Guard(Deadlines(1, 1))
options = MountOptions(mountpoint=pathlib.Path(sys.argv[1]), source="account/share")
operations = Operations(MemoryFilesystem(), guard)
try:
    with dispatching(table, Handlers(), guard) as dispatcher:
        with mounted(operations, options, PyfuseNotifier(), dispatcher):
            print("mounted")
except MountFailed as error:
    print(error)
"""


def run(program: str, *arguments: str | Path) -> str:
    """Run a program that may spoil its process, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    ).stdout


def compile_library(folder: Path, name: str, source: str, *options: str | Path) -> Path:
    """Compile a shared object."""
    (folder / f"{name}.c").write_text(source)
    flags = subprocess.run(
        ["pkg-config", "--cflags", "fuse3"], check=True, capture_output=True, text=True
    ).stdout.split()
    target = folder / f"lib{name}.so"
    command = ["gcc", "-shared", "-fPIC", *flags, folder / f"{name}.c", "-o", target, *options]
    subprocess.run(command, check=True)
    return target


def open_table() -> OperationTable:
    """Open the shared object without lifting it into the global scope."""
    return OperationTable(optable._open(optable._find(), ctypes.RTLD_LOCAL))


def test_it_loads_before_pyfuse3():
    """Importing anything of the package loads the table, and once is enough."""
    program = (
        "import sys\n"
        "import azfilesfs.fuse.mountinfo\n"
        "from azfilesfs.fuse import optable\n"
        "assert 'pyfuse3' not in sys.modules\n"
        "assert optable.probe() is None\n"
        "import azfilesfs.fuse.session\n"
        "assert optable.load() is optable.load()\n"
        "print(optable.probe())\n"
    )

    assert run(program) == "None\n"


def test_it_refuses_after_pyfuse3():
    """Where pyfuse3 is there already, its references are bound, and load and probe say so."""
    program = (
        "import pyfuse3\n"
        "from azfilesfs.fuse import optable\n"
        "print(optable.probe())\n"
        "try: optable.load()\n"
        "except optable.Unavailable as error: print(error)\n"
    )

    line = "pyfuse3 was imported before the operation table was loaded\n"
    assert run(program) == 2 * line


def test_no_writes_are_collected_without_the_table(tmp_path: Path):
    """The kernel would keep times that the service cannot: the mount fails and says why."""
    program = TOO_LATE.replace('source="account/share"', 'source="s", collect_writes=True')

    reason = "pyfuse3 was imported before the operation table was loaded"
    assert run(program, tmp_path) == f"the kernel cannot collect writes here: {reason}\n"


@pytest.mark.mount
def test_a_session_without_the_table_is_refused(tmp_path: Path):
    """Where pyfuse3 found libfuse's own constructor the mount fails, rather than run without."""
    assert run(TOO_LATE, tmp_path) == "pyfuse3 made its session without the operation table\n"


def test_an_unknown_libfuse_is_refused(tmp_path: Path):
    """A libfuse without a constructor that is known is named in the error."""
    library = compile_library(tmp_path, "odd", "int fuse_session_new_4;")
    program = (
        "import ctypes, pathlib, sys\n"
        "from azfilesfs.fuse import optable\n"
        "ctypes.CDLL(sys.argv[1])\n"
        "try: optable._resolve(optable.load()._library, pathlib.Path(sys.argv[1]))\n"
        "except optable.Unavailable as error: print(error)\n"
    )

    assert run(program, library) == f"{library} exports no fuse_session_new that is known here\n"


def test_a_libfuse_that_is_not_loaded_is_refused(tmp_path: Path):
    """Nothing is looked up in a library that the process does not have."""
    with pytest.raises(Unavailable, match="libfuse is not loaded"):
        optable._resolve(open_table()._library, tmp_path / "libfuse3.so.9")


@pytest.mark.parametrize("options", [[], ["-DWITHOUT_OLD_NAME"]], ids=["both names", "new name"])
def test_versioned_constructors(tmp_path: Path, options: list[str]):
    """With a later libfuse the table is completed once, whichever name the caller refers to."""
    new = compile_library(tmp_path, "new", NEW_LIBFUSE, *options)
    caller = compile_library(tmp_path, "caller", CALLER, new)

    lines = run(INTERPOSED, new, caller).splitlines()

    assert lines[:3] == ["7 [1, 0, 0, 1] 1", "7 [2, 1, 0, 1] True", "False"]
    if options:
        assert lines[3:] == ["0 [2, 1, 0, 1] 2", "7 [3, 0, 1, 1]"]
    else:
        assert lines[3:] == ["9 [3, 0, 1, 1] 3", "7 [4, 0, 1, 1]"]


def test_what_was_not_built_is_named(monkeypatch):
    """Without the shared object the reason is that it was not built."""
    monkeypatch.setattr(optable, "_NAME", "azfilesfs.fuse._absent")

    assert optable.probe() == "the operation table (azfilesfs/fuse/optable.c) was not built"


def test_what_was_built_from_another_version_is_refused(monkeypatch):
    """A shared object left over from another version is not used."""
    monkeypatch.setattr(optable, "_INTERFACE", optable._INTERFACE + 1)

    reason = optable.probe()

    assert reason == "the operation table was built from another version; install again"


def test_what_does_not_load_is_named(monkeypatch, tmp_path: Path):
    """The loader's own words are passed on."""
    (tmp_path / "broken.so").write_text("not a library")
    monkeypatch.setattr(optable, "_find", lambda: tmp_path / "broken.so")

    reason = optable.probe()

    assert reason is not None
    assert reason.startswith("the operation table does not load: ")
    assert "broken.so" in reason


def test_a_table_serves_one_session_at_a_time():
    """Registering opens an eventfd, a second time is refused, and stopping closes it once."""
    table = open_table()
    table.register(["flock"])
    try:
        with pytest.raises(RuntimeError):
            table.register(["flock"])
        assert list(table.take()) == []
        assert table.closing(1) is None
        os.fstat(table.wake_fd)
        with pytest.raises(KeyError):
            table.reply_error(4096, errno.EIO)
    finally:
        assert table.stop() == 0
    assert table.wake_fd == -1
    assert table.stop() == 0


def test_handlers_have_names_of_kinds():
    """Each handler's name is that of a kind, and locks of fcntl(2) come in pairs."""

    async def handler(request):
        return None

    names = set(Handlers.__slots__)

    assert names == {kind.name.lower() for kind in Kind} - {"interrupt", "flush", "release"}
    assert Handlers().names() == frozenset()
    assert Handlers(flock=handler).names() == {"flock"}
    with pytest.raises(ValueError, match="together"):
        Handlers(setlk=handler)
