"""S8, S9, S10: case, names that the service forbids, and symbolic links."""

import errno
import os
import stat

import pytest

from azfilesfs.model.paths import SharePath
from azfilesfs.model.symlinks import encode_symlink
from azfilesfs.vfs.types import Symlinks
from tests.semantics.harness import World, get, put, refused


@pytest.mark.semantics("S8.1")
async def test_case_is_kept_and_ignored(world: World):
    """Another spelling finds the same file, and never makes a second one or replaces it unasked."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"Read Me", b"content")
        number = (await here.stat(b"Read Me")).ino

        for host in (here, there):
            assert (await host.stat(b"READ ME")).ino == number
            assert await host.read(b"read me") == b"content"
            with refused(errno.EEXIST):
                await host.create(b"READ ME", os.O_EXCL)
            with refused(errno.EEXIST):
                await host.mkdir(b"READ ME")
        await there.write(b"READ ME", b"CONTENT!", 0)

        assert await here.read(b"Read Me") == b"CONTENT!"
        assert b"Read Me" in await there.listdir()
        assert b"READ ME" not in await there.listdir()


@pytest.mark.semantics("S8.1")
async def test_unsent_file_is_found_in_any_case(world: World):
    """That holds for a file that only this mount has yet as well."""
    async with world.mount() as here:
        file = await here.create(b"new")
        assert (await here.stat(b"NEW")).ino == file.ino
        await file.close()
        assert await here.listdir() == [b"new"]


@pytest.mark.semantics("S8.2")
async def test_kernel_keeps_only_the_stored_spelling(world: World):
    """Another spelling is answered for this once; the stored one for the TTL."""
    async with world.mount() as here:
        await here.write(b"file", b"")

        stored = await here.fs.lookup(1, b"file")
        other = await here.fs.lookup(1, b"FILE")

        assert stored.entry_timeout > 0
        assert other.entry_timeout == 0
        await here.fs.forget([(stored.attrs.ino, 2)])


@pytest.mark.semantics("S8.3")
async def test_rename_of_case_below_the_kernel(world: World):
    """What ``azfilesfs mv`` asks for changes the spelling and nothing else."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"readme", b"content")
        number = (await here.stat(b"readme")).ino

        await here.rename(b"readme", b"README")

        assert await there.scan() == [(b"README", await here.stat(b"README"))]
        assert (await there.stat(b"README")).ino == number
        assert await there.read(b"README") == b"content"


FORBIDDEN = [b'quote"', b"st*r", b"co:lon", b"<less", b"more>", b"what?", b"back\\slash", b"a|b"]
ODD = [*FORBIDDEN, b"tab\tand\x01one", b"ends with dot.", b"ends with space ", b"...", b" . "]


@pytest.mark.semantics("S9.1")
@pytest.mark.parametrize("name", ODD)
async def test_forbidden_characters_come_back(world: World, name: bytes):
    """A name with such characters is listed, found and opened under itself, on every mount."""
    async with world.mount() as here, world.mount() as there, world.client() as share:
        await here.write(name, b"content")

        for host in (here, there):
            assert await host.listdir() == [name]
            assert await host.read(name) == b"content"
        (stored,) = (await share.list_page(SharePath.ROOT)).entries
        SharePath((stored.name,)).check()
        assert not stored.name.endswith((".", " "))
        await there.unlink(name)


@pytest.mark.semantics("S9.1")
async def test_stored_form_is_that_of_cifs(world: World):
    """The stored code points are those of Linux cifs under mapposix."""
    async with world.mount() as here, world.client() as share:
        await here.write(b'"*:<>?\\|\x01.', b"")
        (stored,) = (await share.list_page(SharePath.ROOT)).entries

        expected = [0xF020, 0xF021, 0xF022, 0xF023, 0xF024, 0xF025, 0xF026, 0xF027, 0xF001, 0xF029]
        assert [ord(character) for character in stored.name] == expected


@pytest.mark.semantics("S9.2")
async def test_literal_trailing_dot(world: World):
    """A name that others made with a literal dot can be used like any other."""
    async with world.mount() as here, world.client() as share:
        await put(share, "dotted.", b"content")

        assert await here.listdir() == [b"dotted."]
        assert await here.read(b"dotted.") == b"content"
        await here.write(b"dotted.", b"changed")
        assert await get(share, "dotted.") == b"changed"
        await here.unlink(b"dotted.")
        assert await here.listdir() == []


LONG_PATH = b"/".join([b"d" * 200] * 10)
REFUSED = {
    b"NUL": errno.EINVAL,
    b"com1": errno.EINVAL,
    b"clock$": errno.EINVAL,
    "colon\uf022".encode(): errno.EINVAL,
    "end\uf029".encode(): errno.EINVAL,
    b"\xff\xfe": errno.EILSEQ,
    b"n" * 256: errno.ENAMETOOLONG,
    "\N{GRINNING FACE}".encode() * 128: errno.ENAMETOOLONG,
}


@pytest.mark.semantics("S9.3")
@pytest.mark.parametrize(("name", "number"), REFUSED.items(), ids=ascii)
async def test_name_that_cannot_be_stored(world: World, name: bytes, number: int):
    """It is refused by every call that names it, before any request."""
    async with world.mount() as here:
        await here.write(b"file", b"")
        with world.counted() as requests:
            for attempt in (
                here.stat(name),
                here.create(name),
                here.create(name, os.O_EXCL),
                here.mkdir(name),
                here.symlink(b"target", name),
                here.unlink(name),
                here.rmdir(name),
                here.rename(name, b"other"),
                here.rename(b"file", name),
            ):
                with refused(number):
                    await attempt

        assert set(requests) <= {"ListDirectoriesAndFiles"}
        assert await here.listdir() == [b"file"]


@pytest.mark.semantics("S9.3")
async def test_longest_name(world: World):
    """255 UTF-16 units are allowed, counted after the mapping."""
    async with world.mount() as here:
        name = "\N{GRINNING FACE}".encode() * 127 + b":"
        await here.write(name, b"content")
        assert await here.read(name) == b"content"


@pytest.mark.semantics("S9.3")
async def test_path_over_the_limit(world: World):
    """A path of more than 2,048 units is ENAMETOOLONG; one of exactly so many works."""
    async with world.mount() as here:
        folder = b""
        for _ in range(9):
            folder = folder + b"/" + b"d" * 200 if folder else b"d" * 200
            await here.mkdir(folder)
        fits = 2048 - len(folder) - 1

        await here.write(folder + b"/" + b"f" * fits, b"")
        for name in (b"f" * (fits + 1), b"g" * 255):
            with refused(errno.ENAMETOOLONG):
                await here.create(folder + b"/" + name)
        with refused(errno.ENAMETOOLONG):
            await here.rename(folder + b"/" + b"f" * fits, folder + b"/" + b"g" * (fits + 1))

        assert len(await here.listdir(folder)) == 1


@pytest.mark.semantics("S9.5")
async def test_private_directory(world: World):
    """Our own directory is not shown, not found, and cannot be made or moved to."""
    async with world.mount() as here, world.client() as share:
        await (await here.create(b"file", os.O_EXCL)).close()
        assert (await share.list_page(SharePath.ROOT)).entries[0].name == ".azfilesfs"

        assert await here.listdir() == [b"file"]
        for name in (b".azfilesfs", b".AzFilesFS"):
            assert not await here.exists(name)
            with refused(errno.EPERM):
                await here.mkdir(name)
            with refused(errno.EPERM):
                await here.rename(b"file", name)
        await here.mkdir(b"folder")
        await here.mkdir(b"folder/.azfilesfs")


@pytest.mark.semantics("S10.1")
async def test_links_are_those_of_cifs(world: World):
    """A link is a file in the mfsymlinks form, and one that cifs made shows as a link here."""
    async with world.mount() as here, world.mount() as there, world.client() as share:
        await here.symlink(b"../target", b"link")
        assert await get(share, "link") == encode_symlink(b"../target")
        await put(share, "theirs", encode_symlink(b"elsewhere"))

        shown = dict(await there.scan())
        for host in (here, there):
            assert await host.readlink(b"link") == b"../target"
        assert await there.readlink(b"theirs") == b"elsewhere"
        for name, size in ((b"link", 9), (b"theirs", 9)):
            assert stat.S_ISLNK(shown[name].mode)
            assert shown[name].size == size


@pytest.mark.semantics("S10.1")
async def test_length_of_a_target(world: World):
    """1,024 bytes are the most."""
    async with world.mount() as here:
        await here.symlink(b"t" * 1024, b"link")
        assert await here.readlink(b"link") == b"t" * 1024
        with refused(errno.ENAMETOOLONG):
            await here.symlink(b"t" * 1025, b"other")
        with refused(errno.EEXIST):
            await here.symlink(b"t", b"link")


@pytest.mark.semantics("S10.2")
async def test_only_files_of_that_size_are_read(world: World):
    """Listing and looking up reads no file but those of 1,067 bytes, and those once."""
    async with world.mount() as here, world.client() as share:
        await put(share, "short", b"x" * 1066)
        await put(share, "plain", b"x" * 1067)
        await put(share, "long", b"x" * 1068)

        with world.counted() as requests:
            shown = dict(await here.scan())
            async with here.found(b"plain"), here.found(b"short"), here.found(b"long"):
                await here.scan()
                await here.stat(b"plain")
        assert requests["GetFile"] <= 2
        assert all(stat.S_ISREG(attrs.mode) for attrs in shown.values())

        async with here.found(b"plain"):
            with world.counted() as again:
                await here.scan()
        assert "GetFile" not in again


@pytest.mark.semantics("S10.3")
async def test_links_switched_off(world: World):
    """Then links are files, making one is EPERM, and nothing is read for it."""
    async with world.mount(symlinks=Symlinks.OFF) as here, world.client() as share:
        await put(share, "link", encode_symlink(b"target"))

        with world.counted() as requests:
            ((_, attrs),) = await here.scan()
        assert stat.S_ISREG(attrs.mode)
        assert attrs.size == 1067
        assert "GetFile" not in requests
        with refused(errno.EPERM):
            await here.symlink(b"target", b"other")
