"""Answers that are lost after the effect: what is repeated, what is looked at, what is reported."""

import pytest

from azfilesfs import errors
from azfilesfs.client import Times
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange

FILE = SharePath.parse("file")
OTHER = SharePath.parse("other")
DIRECTORY = SharePath.parse("dir")
TIME = 1_600_000_000_000_000_000


def lose(app, operation: str, *, cut: str = "after", times: int = 1) -> None:
    """Cut the connection of the next such requests, after their effect unless said otherwise."""
    app.faults.add(operation=operation, cut=cut, times=times)


def count(app, operation: str) -> int:
    """Return how often an operation arrived."""
    return app.requests.of(operation)


@pytest.fixture
async def file(share):
    """Make a file and return its properties."""
    return await share.create_file(FILE, data=b"hello")


async def test_writes_are_repeated_blindly(app, share, file, autojump_clock):
    """Create, Put Range and Set Properties may arrive twice and mean the same."""
    for operation, act in (
        ("CreateFile", lambda: share.create_file(OTHER, data=b"x")),
        ("PutRange", lambda: share.put_range(FILE, 0, b"j")),
        ("PutRange", lambda: share.clear_range(FILE, ByteRange(4, 5))),
        ("SetFileProperties", lambda: share.set_file_properties(FILE, size=5)),
        ("SetFileMetadata", lambda: share.set_file_metadata(FILE, {"a": "b"})),
    ):
        lose(app, operation)
        await act()

    assert (await share.get_file(FILE)).data == b"jell\0"
    assert count(app, "PutRange") == 4


async def test_a_body_that_did_not_arrive(app, share, file, autojump_clock):
    """A request that was cut in its own middle is repeated whole."""
    lose(app, "PutRange", cut="request")

    await share.put_range(FILE, 0, b"HELLO")

    assert (await share.get_file(FILE)).data == b"HELLO"


async def test_a_deletion_whose_answer_is_lost(app, share, file, autojump_clock):
    """A file that is gone at the repetition was deleted."""
    lose(app, "DeleteFile")
    await share.delete_file(FILE)
    await share.create_directory(DIRECTORY)
    lose(app, "DeleteDirectory")
    await share.delete_directory(DIRECTORY)

    assert (await share.list_page(SharePath.ROOT)).entries == ()


async def test_a_deletion_of_what_never_was(app, share, autojump_clock):
    """Without an ambiguous attempt a missing file is FileNotFound."""
    lose(app, "DeleteFile", cut="before")
    app.faults.clear()

    with pytest.raises(errors.FileNotFound) as caught:
        await share.delete_file(FILE)
    assert not caught.value.may_have_been_applied


async def test_a_new_file_of_the_name_is_left_alone(app, share, file, autojump_clock):
    """With the expected id, a file that was made meanwhile survives the repetition."""
    plain = share._send

    async def interfering(call):
        if call.name == "DeleteFile":
            share._send = plain
            await share.delete_file(FILE)
            await share.create_file(FILE, data=b"new")
            app.faults.add(operation="DeleteFile", cut="before", times=1)
        return await plain(call)

    share._send = interfering
    await share.delete_file(FILE, expected_file_id=file.file_id)

    assert (await share.get_file(FILE)).data == b"new"


async def test_the_expected_file_is_deleted(app, share, file, autojump_clock):
    """With the expected id still there, the deletion is repeated."""
    lose(app, "DeleteFile", cut="before")

    await share.delete_file(FILE, expected_file_id=file.file_id)

    with pytest.raises(errors.FileNotFound):
        await share.get_file(FILE)


@pytest.mark.parametrize("replace", [False, True])
async def test_a_rename_whose_answer_is_lost(replace, app, share, file, autojump_clock):
    """The destination with the expected id means done; nothing is sent again."""
    lose(app, "RenameFile")

    renamed = await share.rename_file(FILE, OTHER, replace=replace, expected_file_id=file.file_id)

    assert renamed.file_id == file.file_id
    assert renamed.validator() is None
    assert count(app, "RenameFile") == 1


async def test_a_rename_that_did_not_happen(app, share, file, autojump_clock):
    """A destination without the expected id means not yet: the rename is sent again."""
    lose(app, "RenameFile", cut="before")

    assert (await share.rename_file(FILE, OTHER, expected_file_id=file.file_id)).etag is not None

    assert count(app, "RenameFile") == 2
    assert (await share.get_file(OTHER)).data == b"hello"


async def test_a_rename_that_another_won(app, share, file, autojump_clock):
    """A lost answer and another's file at the destination: the conflict is reported."""
    await share.create_file(OTHER)
    lose(app, "RenameFile")

    with pytest.raises(errors.FileAlreadyExists):
        await share.rename_file(FILE, OTHER, expected_file_id=file.file_id)


async def test_a_rename_without_an_expected_id(app, share, file, autojump_clock):
    """Nobody can tell who moved it: the error says that it may have been this call."""
    lose(app, "RenameFile")

    with pytest.raises(errors.FileNotFound) as caught:
        await share.rename_file(FILE, OTHER)
    assert caught.value.may_have_been_applied


async def test_a_renamed_directory(app, share, autojump_clock):
    """Directories are looked at as files are."""
    made = await share.create_directory(DIRECTORY)
    lose(app, "RenameDirectory")

    renamed = await share.rename_directory(DIRECTORY, OTHER, expected_file_id=made.file_id)

    assert renamed.file_id == made.file_id
    assert count(app, "RenameDirectory") == 1


async def test_a_rename_that_cannot_be_looked_at(app, share, file, autojump_clock):
    """Where even the look fails, the first failure is reported, as possibly applied."""
    lose(app, "*", times=100)

    with pytest.raises(errors.NetworkError) as caught:
        await share.rename_file(FILE, OTHER, expected_file_id=file.file_id)
    assert caught.value.may_have_been_applied
    assert caught.value.operation == "RenameFile"


async def test_an_own_directory(app, share, autojump_clock):
    """A directory with the creation time that was given is the one made by this call."""
    lose(app, "CreateDirectory")

    made = await share.create_directory(DIRECTORY, times=Times(creation_ns=TIME))

    assert made.creation_time_ns == TIME
    assert made.validator() is not None


async def test_a_directory_of_unknown_origin(app, share, autojump_clock):
    """Without a matching creation time the name is taken, possibly by this call."""
    lose(app, "CreateDirectory")
    with pytest.raises(errors.FileAlreadyExists) as caught:
        await share.create_directory(DIRECTORY)
    assert caught.value.may_have_been_applied

    lose(app, "CreateDirectory", cut="before")
    with pytest.raises(errors.FileAlreadyExists):
        await share.create_directory(DIRECTORY, times=Times(creation_ns=TIME))


async def test_leases(app, share, file, autojump_clock):
    """Acquire and change give the same lease again; what is gone counts as released or broken."""
    lose(app, "LeaseFile")
    lease = await share.acquire_file_lease(FILE)
    lose(app, "LeaseFile")
    lease = await share.change_file_lease(
        FILE, lease.lease_id, "11111111-1111-1111-1111-111111111111"
    )
    lose(app, "LeaseFile")
    await share.release_file_lease(FILE, lease.lease_id)
    lease = await share.acquire_file_lease(FILE)
    app.faults.add(operation="LeaseFile", status=500, effect=True, times=1)
    await share.break_file_lease(FILE)

    assert (await share.get_file_properties(FILE)).lease.state == "broken"


@pytest.mark.parametrize(
    "fault",
    [{"cut": "after"}, {"cut": "before"}, {"status": 503, "code": "ServerBusy"}, {"status": 500}],
    ids=["after", "before", "busy", "error"],
)
async def test_leases_without_repetition(fault, app, share, file, autojump_clock):
    """With retry=False a failed attempt is the only one."""
    lease = await share.acquire_file_lease(FILE)
    before = count(app, "LeaseFile")
    app.faults.add(operation="LeaseFile", times=2, **fault)

    with pytest.raises(errors.AzureFilesError):
        await share.acquire_file_lease(FILE, retry=False)
    with pytest.raises(errors.AzureFilesError):
        await share.change_file_lease(
            FILE, lease.lease_id, "11111111-1111-1111-1111-111111111111", retry=False
        )

    assert count(app, "LeaseFile") == before + 2


async def test_the_lease_of_a_share(app, share, autojump_clock):
    """A share's lease survives lost answers too."""
    lose(app, "LeaseShare")
    lease = await share.acquire_share_lease(15)
    lose(app, "LeaseShare")
    await share.release_share_lease(lease.lease_id)

    assert not (await share.get_share_properties()).lease.is_leased


async def test_a_share_whose_deletion_is_lost(app, share, autojump_clock):
    """A share that is gone at the repetition was deleted."""
    lose(app, "DeleteShare")

    await share.delete_share()


@pytest.mark.parametrize(
    "fault",
    [{"truncate": 2}, {"cut": "body"}, {"answer_headers": {"content-range": "bytes 0-1/5"}}],
    ids=["truncated", "cut", "range"],
)
async def test_damaged_reads_are_repeated(fault, app, share, file, autojump_clock):
    """A short body, a cut one and a wrong Content-Range are asked for again."""
    app.faults.add(operation="GetFile", times=1, **fault)

    assert (await share.get_file(FILE, ByteRange(0, 5))).data == b"hello"


async def test_a_corrupted_body(app, share, file, autojump_clock):
    """A flipped bit is found where the MD5 was asked for, and the range is read again."""
    app.faults.add(operation="GetFile", times=1, corrupt=True)

    assert (await share.get_file(FILE, ByteRange(0, 5), check_md5=True)).data == b"hello"


async def test_a_read_that_stays_damaged(app, share, file, autojump_clock):
    """Damage in every attempt is an IntegrityError."""
    app.faults.add(operation="GetFile", corrupt=True)

    with pytest.raises(errors.IntegrityError):
        await share.get_file(FILE, ByteRange(0, 5), check_md5=True)
