"""Random operations on the filesystem and on a plain model must agree, over remounts too.

What a machine finds is shrunk and becomes a named test in test_found.py.
"""

import errno
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path as LocalPath

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import EmulatorOptions
from azfilesfs.model.limits import MIB
from azfilesfs.model.names import to_local
from azfilesfs.model.paths import SharePath
from azfilesfs.model.symlinks import SYMLINK_FILE_BYTES, decode_symlink
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.types import ExclusiveCreate, SetAttr, VfsOptions
from tests.reference.model import Directory, File, Link, Model, Node, Path, Refused
from tests.reference.mount import SHARE, Mount, open_share

# Few names and short paths, so that operations meet.
NAMES = st.sampled_from([b"a", b"a", b"b", b"b", b"A", b"c", "\u00fc:?".encode(), b"dot."])
PATHS = st.one_of(
    st.tuples(NAMES), st.tuples(NAMES), st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES)
)
NUMBERS = st.integers(0, 7)
SMALL = st.integers(0, 3000)
# Around the units of the cache and of an upload, rarely, since they cost time.
OFFSETS = st.one_of(SMALL, SMALL, SMALL, st.sampled_from([MIB - 10, 4 * MIB - 1000, 5 * MIB]))
LENGTHS = st.one_of(SMALL, SMALL, SMALL, st.sampled_from([MIB + 1, 4 * MIB]))
FLAGS = st.builds(
    lambda access, *more: access | sum(more),
    st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]),
    st.sampled_from([0, os.O_CREAT, os.O_CREAT | os.O_EXCL]),
    st.sampled_from([0, os.O_TRUNC]),
    st.sampled_from([0, os.O_APPEND]),
)


@dataclass(eq=False)
class Opened:
    """An open file here and in the model."""

    handle: int
    ino: int
    file: File
    flags: int

    @property
    def readable(self) -> bool:
        """Whether it may be read."""
        return self.flags & os.O_ACCMODE != os.O_WRONLY

    @property
    def writable(self) -> bool:
        """Whether it may be written."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY


class FileSystemMachine(RuleBasedStateMachine):
    """The filesystem and its model, each step done to both."""

    options = VfsOptions()

    def __init__(self) -> None:
        super().__init__()
        self.app = create_app(EmulatorOptions(shares=(SHARE,)))
        self.directory = LocalPath(tempfile.mkdtemp())
        self.model = Model()
        self.opened: list[Opened] = []
        self.mount = Mount(self.app, self.directory, self.options)

    def pick(self, number: int) -> Opened:
        """Return one of the open files."""
        return self.opened[number % len(self.opened)]

    def both(self, modelled, real):
        """Do one operation in the model, then for real: both succeed, or fail with one errno."""
        try:
            expected = modelled()
        except Refused as refusal:
            number = refusal.errno
        else:
            return False, (expected, real())
        with pytest.raises(VfsError) as caught:
            real()
        assert errno.errorcode[caught.value.errno] == errno.errorcode[number]
        return True, None

    # -- files -----------------------------------------------------------------------------------

    @rule(path=PATHS, flags=FLAGS)
    def open(self, path: Path, flags: int):
        """Open or create a file."""
        if flags & os.O_TRUNC and flags & os.O_ACCMODE == os.O_RDONLY:
            flags &= ~os.O_TRUNC
        if self.is_link(path):
            return
        failed, result = self.both(
            lambda: self.model.open(path, flags), lambda: self.mount.open(path, flags)
        )
        if failed:
            return
        file, (handle, ino) = result
        opened = Opened(handle, ino, file, flags)
        self.opened.append(opened)
        self.check_attributes(opened)

    def is_link(self, path: Path) -> bool:
        """Tell whether the kernel would follow a link here."""
        try:
            return isinstance(self.model.find(path), Link)
        except Refused:
            return False

    @precondition(lambda self: self.opened)
    @rule(number=NUMBERS, offset=OFFSETS, length=LENGTHS, fill=st.integers(1, 255))
    def write(self, number: int, offset: int, length: int, fill: int):
        """Write bytes; the kernel puts O_APPEND writes at the end that it knows."""
        opened = self.pick(number)
        if not opened.writable or not length:
            return
        content = opened.file.content
        if opened.flags & os.O_APPEND:
            offset = len(content)
        data = bytes([fill]) * length
        assert self.mount.call(self.mount.fs.write, opened.handle, offset, data) == length
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + length] = data
        opened.file.mtime = None
        self.check_attributes(opened)

    @precondition(lambda self: self.opened)
    @rule(number=NUMBERS, offset=OFFSETS, length=LENGTHS)
    def read(self, number: int, offset: int, length: int):
        """Read bytes."""
        opened = self.pick(number)
        if not opened.readable:
            return
        data = self.mount.call(self.mount.fs.read, opened.handle, offset, length)
        assert bytes(data) == opened.file.content[offset : offset + length]

    @precondition(lambda self: self.opened)
    @rule(number=NUMBERS, size=OFFSETS)
    def ftruncate(self, number: int, size: int):
        """Set the size of an open file."""
        opened = self.pick(number)
        if not opened.writable:
            return
        change = SetAttr(size=size)
        entry = self.mount.call(self.mount.fs.setattr, opened.ino, change, opened.handle)
        resize(opened.file, size)
        assert entry.attrs.size == size
        self.check_attributes(opened)

    @rule(path=PATHS, size=OFFSETS)
    def truncate(self, path: Path, size: int):
        """Set the size of a file by name."""
        if self.is_link(path):
            return

        def modelled() -> File:
            node = self.model.get(path)
            if isinstance(node, Directory):
                raise Refused(errno.EISDIR)
            assert isinstance(node, File)
            return node

        failed, result = self.both(modelled, lambda: self.mount.truncate(path, size))
        if not failed:
            resize(result[0], size)

    @precondition(lambda self: self.opened)
    @rule(number=NUMBERS)
    def fsync(self, number: int):
        """Make a file durable."""
        opened = self.pick(number)
        self.mount.call(self.mount.fs.fsync, opened.handle)
        self.check_attributes(opened)

    @precondition(lambda self: self.opened)
    @rule(number=NUMBERS)
    def flush(self, number: int):
        """Close a duplicate of a descriptor."""
        opened = self.pick(number)
        self.mount.call(self.mount.fs.flush, opened.handle)
        self.check_attributes(opened)

    @precondition(lambda self: self.opened)
    @rule(number=NUMBERS, flushes=st.booleans())
    def close(self, number: int, flushes: bool):
        """Close a file; a mapping may end with no flush of its own."""
        opened = self.pick(number)
        self.close_one(opened, flushes=flushes)

    def close_one(self, opened: Opened, *, flushes: bool) -> None:
        """Close one open file."""
        if flushes:
            self.mount.call(self.mount.fs.flush, opened.handle)
            self.check_attributes(opened)
        self.mount.release(opened.handle, opened.ino)
        self.opened.remove(opened)

    def check_attributes(self, opened: Opened) -> None:
        """What fstat says is what the model says, and the time stays until the next change."""
        attrs = self.mount.call(self.mount.fs.getattr, opened.ino).attrs
        assert attrs.ino == opened.ino
        self.check_file(opened.file, attrs)

    def check_file(self, file: File, attrs) -> None:
        """Compare attributes with a file of the model; learn its time where it is not known."""
        assert stat.S_ISREG(attrs.mode)
        assert attrs.size == len(file.content)
        if file.mtime is None:
            file.mtime = attrs.mtime_ns
        assert attrs.mtime_ns == file.mtime

    # -- names -----------------------------------------------------------------------------------

    @rule(path=PATHS)
    def mkdir(self, path: Path):
        """Make a directory."""
        self.both(lambda: self.model.add(path, Directory()), lambda: self.mount.mkdir(path))

    @rule(path=PATHS, text=st.sampled_from([b"a", b"../x y", "\u00fc".encode() * 100]))
    def symlink(self, path: Path, text: bytes):
        """Make a symbolic link."""
        self.both(lambda: self.model.add(path, Link(text)), lambda: self.mount.symlink(path, text))

    @rule(path=PATHS)
    def unlink(self, path: Path):
        """Remove a file."""
        self.both(lambda: self.model.unlink(path), lambda: self.mount.remove(path, directory=False))

    @rule(path=PATHS)
    def rmdir(self, path: Path):
        """Remove a directory."""
        self.both(lambda: self.model.rmdir(path), lambda: self.mount.remove(path, directory=True))

    @rule(old=PATHS, new=PATHS, replace=st.booleans())
    def rename(self, old: Path, new: Path, replace: bool):
        """Move an entry."""

        def modelled() -> None:
            self.model.directory(old[:-1])
            self.model.directory(new[:-1])
            source, target = self.model.get(old), self.model.find(new)
            if source is not target:
                self.model.rename(old, new, replace=replace)

        self.both(modelled, lambda: self.mount.rename(old, new, 0 if replace else 1))

    @rule(path=PATHS)
    def look(self, path: Path):
        """Look at one path."""
        failed, result = self.both(lambda: self.model.get(path), lambda: self.mount.lookup(path))
        if not failed:
            self.check_node(*result)

    def check_node(self, node: Node, entry) -> None:
        """Compare what a lookup says with a node of the model."""
        if isinstance(node, File):
            self.check_file(node, entry.attrs)
        elif isinstance(node, Link):
            assert stat.S_ISLNK(entry.attrs.mode)
            assert entry.attrs.size == len(node.target)
            assert self.mount.call(self.mount.fs.readlink, entry.attrs.ino) == node.target
        else:
            assert stat.S_ISDIR(entry.attrs.mode)

    @rule(path=st.one_of(st.just(()), PATHS))
    def readdir(self, path: Path):
        """List a directory."""
        failed, result = self.both(
            lambda: self.model.directory(path), lambda: self.mount.readdir(path)
        )
        if failed:
            return
        directory, found = result
        assert set(found) == {name for name, _ in directory.entries.values()}
        for name, node in directory.entries.values():
            item = found[name].entry
            if isinstance(node, Link):
                # A listing may not have asked yet what the file says.
                assert stat.S_IFMT(item.attrs.mode) in {stat.S_IFLNK, stat.S_IFREG}
            else:
                self.check_node(node, item)

    # -- life ------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def pass_time(self, seconds: float):
        """Let what is cached become old."""
        self.mount.pass_time(seconds)

    @rule()
    def forget(self):
        """Have the kernel drop what it does not use."""
        self.mount.forget_unused()

    @rule()
    def check_everything(self):
        """Compare the whole tree, and the content of every file."""
        self.check_tree()

    def check_tree(self) -> None:
        """Compare what the mount shows with the model."""
        found = dict(self.mount.walk())
        expected = dict(self.model.walk())
        assert set(found) == set(expected)
        for path, node in expected.items():
            self.check_node(node, self.mount.lookup(path))
            if isinstance(node, File):
                assert self.mount.read_file(path) == node.content

    @rule()
    def remount(self):
        """Close everything, unmount, and mount again."""
        self.unmount()
        self.mount = Mount(self.app, self.directory, self.options)

    def unmount(self) -> None:
        """Close all files and end the mount; nothing of it is left anywhere."""
        for opened in list(self.opened):
            self.close_one(opened, flushes=True)
        assert self.mount.call(self.mount.fs.drain) == 0
        self.mount.forget_unused()
        kept, gauges = self.mount.staging.kept(), self.mount.statistics()
        self.mount.close()
        assert kept == []
        assert (gauges.dirty_bytes, gauges.dirty_files, gauges.open_handles) == (0, 0, 0)
        assert gauges.inodes == 1
        assert list((self.directory / "state" / "staging" / "live").iterdir()) == []

    def teardown(self) -> None:
        """Unmount; a second mount with a cold cache and the service itself show the same tree."""
        try:
            if self.mount.is_closed:
                return  # a remount failed, and that is what is to be told
            self.unmount()
            cold = LocalPath(tempfile.mkdtemp(dir=self.directory))
            self.mount = Mount(self.app, cold, self.options)
            self.check_tree()
            self.unmount_quietly()
            assert trio.run(stored_tree, self.app) == modelled_tree(self.model)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def unmount_quietly(self) -> None:
        """End the second mount, which wrote nothing."""
        assert self.mount.call(self.mount.fs.drain) == 0
        self.mount.close()


def resize(file: File, size: int) -> None:
    """Cut or grow a file of the model."""
    del file.content[size:]
    file.content.extend(bytes(size - len(file.content)))
    file.mtime = None


def modelled_tree(model: Model) -> dict[Path, bytes | None]:
    """Return the model as the share should hold it: None for directories, bytes else."""
    kinds = {Directory: lambda _: None, File: lambda n: bytes(n.content), Link: lambda n: n.target}
    return {path: kinds[type(node)](node) for path, node in model.walk()}


async def stored_tree(app) -> dict[Path, bytes | None]:
    """Return what the share holds, by local names; our own directory must hold no file."""
    found: dict[Path, bytes | None] = {}

    async def walk(share, service: SharePath, local: Path) -> None:
        async for page in share.list_directories_and_files(service):
            for item in page.entries:
                path, name = service.child(item.name), (*local, to_local(item.name))
                if item.properties.is_directory:
                    found[name] = None
                    await walk(share, path, name)
                else:
                    found[name] = await stored_file(share, path)

    async with open_share(app) as share:
        await walk(share, SharePath.ROOT, ())
    private = {path: data for path, data in found.items() if path[0] == b".azfilesfs"}
    assert set(private.values()) <= {None}
    return {path: data for path, data in found.items() if path not in private}


async def stored_file(share, path: SharePath) -> bytes:
    """Return the content of a file of the share, or the target of a link."""
    size = (await share.get_file_properties(path)).size
    data = (await share.get_file(path)).data if size else b""
    if size == SYMLINK_FILE_BYTES and (target := decode_symlink(data)) is not None:
        return target
    return data


class UncachedMachine(FileSystemMachine):
    """The same, nothing known for longer than an operation."""

    options = VfsOptions(attr_ttl=0.0, dir_ttl=0.0)


class PatientMachine(FileSystemMachine):
    """The same, everything known for long, and this mount deciding alone what exists."""

    options = VfsOptions(attr_ttl=3600.0, dir_ttl=3600.0, exclusive_create=ExclusiveCreate.MOUNT)


@pytest.mark.parametrize("machine", [FileSystemMachine, UncachedMachine, PatientMachine])
def test_short_histories(machine):
    """A few dozen operations in any order agree with the model."""
    run(machine, examples=40, steps=25)


@pytest.mark.soak
@pytest.mark.parametrize("machine", [FileSystemMachine, UncachedMachine, PatientMachine])
def test_long_histories(machine):
    """Many histories of more operations agree with the model."""
    run(machine, examples=1000, steps=60)


def run(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Run a machine."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=chosen)
