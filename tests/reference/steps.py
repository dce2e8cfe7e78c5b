"""Every step of a history, done to the filesystem and to the model, and what must hold then."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path as LocalPath

import pytest
import trio

from azfilesfs.emulator.app import EmulatorApp, create_app
from azfilesfs.emulator.options import EmulatorOptions
from azfilesfs.model.names import to_local
from azfilesfs.model.paths import SharePath
from azfilesfs.model.symlinks import SYMLINK_FILE_BYTES, decode_symlink
from azfilesfs.vfs import recovery, resend
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.kept import Layout
from azfilesfs.vfs.resend import BaseMoved
from azfilesfs.vfs.types import ROOT_INODE, SetAttr, VfsOptions
from tests.reference.model import Directory, File, Link, Model, Node, Path, Refused
from tests.reference.mount import SHARE, Mount, open_share


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


class Steps:
    """A filesystem and its model, each step done to both."""

    def __init__(self, options: VfsOptions | None = None, faults: dict | None = None) -> None:
        """Mount an empty share; ``faults`` is a plan that the emulator follows from now on."""
        self.options = options if options is not None else VfsOptions()
        self.app: EmulatorApp = create_app(EmulatorOptions(shares=(SHARE,)))
        self.directory = LocalPath(tempfile.mkdtemp())
        self.model = Model()
        self.opened: list[Opened] = []
        self.clock_rate = 1.0 if faults is None else 20.0
        self.mount = self.new_mount(self.directory)
        if faults is not None:
            self.app.faults.set_plan(faults)

    def new_mount(self, directory: LocalPath) -> Mount:
        """Begin another life of the filesystem."""
        return Mount(self.app, directory, self.options, clock_rate=self.clock_rate)

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

    def open(self, path: Path, flags: int) -> Opened | None:
        """Open or create a file; None where that must fail."""
        if flags & os.O_ACCMODE == os.O_RDONLY:
            flags &= ~os.O_TRUNC
        if self.is_link(path):
            return None
        failed, result = self.both(
            lambda: self.model.open(path, flags), lambda: self.mount.open(path, flags)
        )
        if failed:
            return None
        file, (handle, ino) = result
        opened = Opened(handle, ino, file, flags)
        self.opened.append(opened)
        self.check_attributes(opened)
        return opened

    def is_link(self, path: Path) -> bool:
        """Tell whether the kernel would follow a link here."""
        try:
            return isinstance(self.model.find(path), Link)
        except Refused:
            return False

    def write(self, opened: Opened, offset: int, length: int, fill: int) -> None:
        """Write bytes; the kernel puts O_APPEND writes at the end that it knows."""
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

    def read(self, opened: Opened, offset: int, length: int) -> None:
        """Read bytes."""
        if opened.readable:
            data = self.mount.call(self.mount.fs.read, opened.handle, offset, length)
            assert bytes(data) == opened.file.content[offset : offset + length]

    def ftruncate(self, opened: Opened, size: int) -> None:
        """Set the size of an open file."""
        if not opened.writable:
            return
        change = SetAttr(size=size)
        entry = self.mount.call(self.mount.fs.setattr, opened.ino, change, opened.handle)
        resize(opened.file, size)
        assert entry.attrs.size == size
        self.check_attributes(opened)

    def fsync(self, opened: Opened) -> None:
        """Make a file durable."""
        self.mount.call(self.mount.fs.fsync, opened.handle)
        self.check_attributes(opened)

    def flush(self, opened: Opened) -> None:
        """Close a duplicate of a descriptor."""
        self.mount.call(self.mount.fs.flush, opened.handle)
        self.check_attributes(opened)

    def close(self, opened: Opened, *, flushes: bool = True) -> None:
        """Close a file; a mapping may end with no flush of its own."""
        if flushes:
            self.flush(opened)
        self.mount.release(opened.handle, opened.ino)
        self.opened.remove(opened)

    def truncate(self, path: Path, size: int) -> None:
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

    def together(self, opened: Opened, lengths: list[int], fill: int, move: Path | None) -> None:
        """Write to a file, sync it, look around and rename what it lies in, all at once."""
        if not opened.writable or opened.flags & os.O_APPEND:
            return
        fs, mount = self.mount.fs, self.mount
        calls: list[tuple] = [(fs.fsync, opened.handle), (fs.flush, opened.handle)]
        calls += [(fs.getattr, opened.ino), (fs.getattr, ROOT_INODE), (fs.lookup, ROOT_INODE, b"q")]
        content = opened.file.content
        for number, length in enumerate(lengths):
            offset, data = number * 5000, bytes([fill + number]) * length
            calls.append((fs.write, opened.handle, offset, data))
            content.extend(bytes(max(0, offset + length - len(content)) if length else 0))
            content[offset : offset + length] = data
        opened.file.mtime = None
        path = next((p for p, node in self.model.walk() if node is opened.file), None)
        if path is not None and move is not None and self.is_free(move):
            moved = path[:1]
            calls.append((fs.rename, mount.parent(moved), moved[-1], ROOT_INODE, move[-1], 0))
            self.model.rename(moved, move, replace=False)
        mount.call(self.all_at_once, calls)
        self.check_attributes(opened)
        mount.call(fs.fsync, opened.handle)
        self.check_attributes(opened)

    def is_free(self, path: Path) -> bool:
        """Tell whether nothing has a name at the top."""
        return self.model.find(path) is None

    @staticmethod
    async def all_at_once(calls: list[tuple]) -> None:
        """Run calls side by side; a name that does not exist is the only failure."""

        async def run(operation, *arguments) -> None:
            try:
                await operation(*arguments)
            except VfsError as error:
                if error.errno != errno.ENOENT:
                    raise

        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(run, *call)

    # -- names -----------------------------------------------------------------------------------

    def mkdir(self, path: Path) -> None:
        """Make a directory."""
        self.both(lambda: self.model.add(path, Directory()), lambda: self.mount.mkdir(path))

    def symlink(self, path: Path, target: bytes) -> None:
        """Make a symbolic link."""
        self.both(
            lambda: self.model.add(path, Link(target)), lambda: self.mount.symlink(path, target)
        )

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        self.both(lambda: self.model.unlink(path), lambda: self.mount.remove(path, directory=False))

    def rmdir(self, path: Path) -> None:
        """Remove a directory."""
        self.both(lambda: self.model.rmdir(path), lambda: self.mount.remove(path, directory=True))

    def rename(self, old: Path, new: Path, *, replace: bool = True) -> None:
        """Move an entry."""

        def modelled() -> None:
            self.model.directory(old[:-1])
            self.model.directory(new[:-1])
            if self.model.get(old) is not self.model.find(new):
                self.model.rename(old, new, replace=replace)

        self.both(modelled, lambda: self.mount.rename(old, new, 0 if replace else 1))

    def utimes(self, path: Path, mtime: int) -> None:
        """Set the time of a file; the service keeps 100 ns of it."""
        if self.is_link(path):
            return
        failed, result = self.both(lambda: self.model.get(path), lambda: self.mount.lookup(path))
        if failed:
            return
        node, entry = result
        change = SetAttr(mtime_ns=mtime)
        answer = self.mount.call(self.mount.fs.setattr, entry.attrs.ino, change, None)
        assert answer.attrs.mtime_ns == mtime // 100 * 100
        if isinstance(node, File):
            node.mtime = mtime // 100 * 100

    def look(self, path: Path) -> None:
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

    def readdir(self, path: Path) -> None:
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

    def pass_time(self, seconds: float):
        """Let what is cached become old."""
        self.mount.pass_time(seconds)

    def forget(self):
        """Have the kernel drop what it does not use."""
        self.mount.forget_unused()

    def check_tree(self) -> None:
        """Compare what the mount shows with the model."""
        found = dict(self.mount.walk())
        expected = dict(self.model.walk())
        assert set(found) == set(expected)
        for path, node in expected.items():
            self.check_node(node, self.mount.lookup(path))
            if isinstance(node, File):
                assert self.mount.read_file(path) == node.content

    def crash(self):
        """End without draining; what was not sent is found by recovery, and sent by it."""
        self.opened.clear()
        self.mount.close()
        trio.run(self.send_kept)
        for _, node in self.model.walk():
            if isinstance(node, File):
                node.mtime = None
        self.mount = self.new_mount(self.directory)

    async def send_kept(self) -> None:
        """Have every kept record be the file of the model, and bring it to the service."""
        async with open_share(self.app) as share:
            for record in recovery.collect(Layout(self.directory / "state")):
                path = tuple(to_local(name) for name in record.path.components)
                node = self.model.get(path)
                assert isinstance(node, File)
                output = self.directory / record.id
                await resend.write_merged(share, record, output)
                assert output.read_bytes() == node.content
                try:
                    await resend.send(share, record)
                except BaseMoved:
                    # A background upload was under way.
                    await resend.send(share, record, force=True)

    def remount(self):
        """Close everything, unmount, and mount again."""
        self.unmount()
        self.mount = self.new_mount(self.directory)

    def unmount(self) -> None:
        """Close all files and end the mount; nothing of it is left anywhere."""
        for opened in list(self.opened):
            self.close(opened)
        assert self.mount.call(self.mount.fs.drain) == 0
        self.mount.forget_unused()
        kept, gauges = self.mount.staging.kept(), self.mount.statistics()
        self.mount.close()
        assert kept == []
        assert (gauges.dirty_bytes, gauges.dirty_files, gauges.open_handles) == (0, 0, 0)
        assert gauges.inodes == 1
        assert list((self.directory / "state" / "staging" / "live").iterdir()) == []

    def finish(self) -> None:
        """Unmount; a second mount with a cold cache and the service itself show the same tree."""
        try:
            if self.mount.is_closed:
                return  # a remount failed, and that is what is to be told
            self.unmount()
            cold = LocalPath(tempfile.mkdtemp(dir=self.directory))
            self.mount = self.new_mount(cold)
            self.check_tree()
            self.unmount_quietly()
            self.app.faults.clear()
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
