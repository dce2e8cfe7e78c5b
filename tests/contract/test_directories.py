"""Contract: directories and listings."""

import time

import pytest

from azfilesfs import errors
from azfilesfs.client import NOW, Times
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind

DIRECTORY = SharePath.parse("dir")
LONG_AGO = 1_000_000_000_123_456_700


async def test_life_of_a_directory(share):
    """Create, see, change and delete a directory."""
    made = await share.create_directory(
        DIRECTORY, times=Times(LONG_AGO, LONG_AGO), metadata={"a": "b"}
    )
    assert made.is_directory
    found = await share.get_directory_properties(DIRECTORY)
    assert found.file_id == made.file_id
    assert (found.creation_time_ns, found.last_write_time_ns) == (LONG_AGO, LONG_AGO)
    assert found.metadata == {"a": "b"}

    await share.set_directory_properties(DIRECTORY, times=Times(last_write_ns=NOW))
    await share.set_directory_metadata(DIRECTORY, {"c": "d"})
    found = await share.get_directory_properties(DIRECTORY)
    assert abs((found.last_write_time_ns or 0) - time.time_ns()) < 900 * 10**9
    assert found.creation_time_ns == LONG_AGO
    assert await share.get_directory_metadata(DIRECTORY) == {"c": "d"}

    hidden = FileAttributes.DIRECTORY | FileAttributes.HIDDEN
    assert (await share.set_directory_properties(DIRECTORY, attributes=hidden)).attributes == hidden

    await share.delete_directory(DIRECTORY)
    with pytest.raises(errors.DirectoryNotFound):
        await share.get_directory_properties(DIRECTORY)
    with pytest.raises(errors.DirectoryNotFound):
        await share.delete_directory(DIRECTORY)


async def test_creating_a_directory_is_exclusive(share):
    """A name that is taken, in whatever case, is FileAlreadyExists."""
    await share.create_directory(DIRECTORY)

    for name in ("dir", "DIR"):
        with pytest.raises(errors.FileAlreadyExists) as caught:
            await share.create_directory(SharePath.parse(name))
        assert not caught.value.may_have_been_applied


async def test_parents_and_contents(share):
    """A missing parent, a directory with entries and a forbidden name have their errors."""
    with pytest.raises(errors.ParentNotFound):
        await share.create_directory(SharePath.parse("no/dir"))
    await share.create_directory(DIRECTORY)
    await share.create_file(DIRECTORY.child("f"))
    with pytest.raises(errors.DirectoryNotEmpty):
        await share.delete_directory(DIRECTORY)
    with pytest.raises(errors.InvalidPath):
        await share.create_directory(SharePath(("a:b",)))
    with pytest.raises(errors.NameTooLong):
        await share.create_directory(SharePath(("x" * 256,)))


async def test_the_root(share):
    """The root has properties and an id that its children name as their parent."""
    root = await share.get_directory_properties(SharePath.ROOT)
    made = await share.create_file(SharePath.parse("f"))

    assert root.is_directory
    assert made.parent_id == root.file_id


async def test_a_listing_tells_what_head_tells(share):
    """What a listing says of an entry is what the entry says of itself."""
    await share.create_directory(DIRECTORY)
    await share.create_directory(DIRECTORY.child("Sub"))
    await share.create_file(DIRECTORY.child("b.txt"), 7)
    await share.create_file(DIRECTORY.child("A #%é&[1]"), 0)

    page = await share.list_page(DIRECTORY)

    assert [(entry.name, entry.properties.kind) for entry in page.entries] == [
        ("A #%é&[1]", EntryKind.FILE),
        ("b.txt", EntryKind.FILE),
        ("Sub", EntryKind.DIRECTORY),
    ]
    assert page.next_marker is None
    assert page.directory_id == (await share.get_directory_properties(DIRECTORY)).file_id
    assert abs(page.service_time_ns - time.time_ns()) < 900 * 10**9
    for entry in page.entries:
        path = DIRECTORY.child(entry.name)
        shown = (
            await share.get_directory_properties(path)
            if entry.properties.is_directory
            else await share.get_file_properties(path)
        )
        listed = entry.properties
        assert listed.validator() == shown.validator()
        assert listed.attributes == shown.attributes
        assert listed.creation_time_ns == shown.creation_time_ns
        assert listed.last_write_time_ns == shown.last_write_time_ns


async def test_pages(share):
    """Pages of any size together give every entry once, in the service's order."""
    names = [f"f{number:02}" for number in range(11)]
    for name in names:
        await share.create_file(SharePath.parse(name))

    pages = [
        [entry.name for entry in page.entries]
        async for page in share.list_directories_and_files(SharePath.ROOT, page_size=4)
    ]

    assert [len(page) for page in pages] == [4, 4, 3]
    assert [name for page in pages for name in page] == names


async def test_prefix_and_details(share):
    """A prefix selects, in any case; without details a listing has names, kinds and sizes."""
    for name in ("apple", "APRICOT", "banana"):
        await share.create_file(SharePath.parse(name), 2)

    page = await share.list_page(SharePath.ROOT, prefix="ap", include=())

    assert sorted(entry.name for entry in page.entries) == ["APRICOT", "apple"]
    assert {entry.properties.size for entry in page.entries} == {2}
    assert page.entries[0].properties.etag is None


async def test_listing_what_is_not_there(share):
    """A missing directory, and a page that no service has, are refused."""
    with pytest.raises(errors.DirectoryNotFound):
        await share.list_page(DIRECTORY)
    with pytest.raises(ValueError, match="5000"):
        await share.list_page(SharePath.ROOT, page_size=5001)


async def test_renaming_a_directory(share):
    """All below it goes along in one step; what is there stays there."""
    await share.create_directory(DIRECTORY)
    await share.create_file(DIRECTORY.child("f"), 1)
    made = await share.get_directory_properties(DIRECTORY)
    new = SharePath.parse("new")

    renamed = await share.rename_directory(DIRECTORY, new)

    assert renamed.file_id == made.file_id
    assert (await share.get_file_properties(new.child("f"))).size == 1
    with pytest.raises(errors.DirectoryNotFound):
        await share.rename_directory(DIRECTORY, SharePath.parse("other"))
    await share.create_directory(DIRECTORY)
    with pytest.raises(errors.FileAlreadyExists):
        await share.rename_directory(DIRECTORY, new)
    with pytest.raises(errors.ParentNotFound):
        await share.rename_directory(DIRECTORY, SharePath.parse("no/where"))


@pytest.mark.parametrize(
    "name", ["a.", "a b", " a", "ü", "日本", "a%41", "a+b", "~!'()$,;=@[]^{}", "\U0001f4c1"]
)
async def test_names(name, share):
    """Names of every kind are created, listed as they are, addressed and removed."""
    path = SharePath((name,))
    await share.create_directory(path)
    await share.create_file(path.child(name), 1)

    assert [entry.name for entry in (await share.list_page(SharePath.ROOT)).entries] == [name]
    assert (await share.get_file_properties(path.child(name))).size == 1
    await share.rename_file(path.child(name), path.child("x"))
    await share.rename_file(path.child("x"), path.child(name))
    await share.delete_file(path.child(name))
    await share.delete_directory(path)


async def test_a_trailing_dot_counts(share):
    """``a`` and ``a.`` are two names."""
    await share.create_file(SharePath.parse("a"), 1)
    await share.create_file(SharePath.parse("a."), 2)

    assert (await share.get_file_properties(SharePath.parse("a"))).size == 1
    assert (await share.get_file_properties(SharePath.parse("a."))).size == 2
