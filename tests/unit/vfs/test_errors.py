"""The errno table: total over the taxonomy, and the same as docs/reference/errors.md shows."""

import errno
import inspect
import logging
from collections.abc import Iterator

import pytest

from azfilesfs import errors
from azfilesfs.errors import AzureFilesError
from azfilesfs.model.names import InvalidEncoding
from azfilesfs.vfs.errors import ERRNO_TABLE, VfsError, answer_for, to_vfs_error
from tests.features import REPOSITORY

PAGE = REPOSITORY / "docs" / "reference" / "errors.md"
HEADING = "| error | errno | log | meaning |\n| --- | --- | --- | --- |"
DECIDED = {
    errors.FileNotFound: errno.ENOENT,
    errors.ParentNotFound: errno.ENOENT,
    errors.DirectoryNotFound: errno.ENOENT,
    errors.FileAlreadyExists: errno.EEXIST,
    errors.DirectoryNotEmpty: errno.ENOTEMPTY,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.InvalidPath: errno.EINVAL,
    InvalidEncoding: errno.EILSEQ,
    errors.PermissionDenied: errno.EACCES,
    errors.InvalidKey: errno.EACCES,
    errors.ChangedDuringRead: errno.ESTALE,
    errors.ConditionNotMet: errno.ESTALE,
    errors.LeaseIdMissing: errno.EBUSY,
    errors.LeaseIdMismatch: errno.EIO,
    errors.LeaseExpired: errno.EIO,
    errors.FileTooLarge: errno.EFBIG,
    errors.Timeout: errno.ETIMEDOUT,
    errors.ServerBusy: errno.ETIMEDOUT,
    errors.ConnectionFailed: errno.EIO,
    errors.InternalError: errno.EIO,
    errors.IntegrityError: errno.EIO,
}


def groups() -> list[type[AzureFilesError]]:
    """Return the classes right below the root, in the order of the module."""
    return [kind for kind in AzureFilesError.__subclasses__() if kind.__module__ == errors.__name__]


def leaves(kind: type[AzureFilesError]) -> Iterator[type[AzureFilesError]]:
    """Yield the taxonomy's classes below a group, in the order of the module."""
    for child in kind.__subclasses__():
        if child.__module__ in {errors.__name__, InvalidEncoding.__module__}:
            yield child
            yield from leaves(child)


ALL = [leaf for group in groups() for leaf in leaves(group)]


def test_the_walk_finds_the_whole_taxonomy():
    """Every error class of the module is the root, a group or a leaf of the walk."""
    declared = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, AzureFilesError)
    }

    assert declared == {AzureFilesError, *groups(), *ALL} - {InvalidEncoding}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_leaf_has_an_errno_of_its_own_group(kind: type[AzureFilesError]):
    """A leaf is decided by the table itself or by its group, never by the root's last resort."""
    decided = next(ancestor for ancestor in kind.__mro__ if ancestor in ERRNO_TABLE)
    number, level = answer_for(kind)

    assert decided is not AzureFilesError
    assert number in errno.errorcode
    assert level in {logging.DEBUG, logging.WARNING, logging.ERROR}


def test_every_row_belongs_to_the_taxonomy():
    """The table names no class that the taxonomy does not have."""
    assert set(ERRNO_TABLE) <= {AzureFilesError, *groups(), *ALL}


@pytest.mark.parametrize("kind", DECIDED, ids=lambda kind: kind.__name__)
def test_programs_get_what_they_expect(kind: type[AzureFilesError]):
    """The errnos that programs act on are the ones that they know from local filesystems."""
    assert errno.errorcode[answer_for(kind)[0]] == errno.errorcode[DECIDED[kind]]


def test_the_ordinary_is_not_logged_as_trouble():
    """A name that does not exist or is taken is daily business; a lost network is not."""
    assert answer_for(errors.FileNotFound)[1] == logging.DEBUG
    assert answer_for(errors.FileAlreadyExists)[1] == logging.DEBUG
    assert answer_for(errors.ConnectionFailed)[1] == logging.ERROR


def test_an_unknown_class_takes_its_nearest_ancestor():
    """A subclass made elsewhere is decided by what it is; anything else is EIO."""

    class Special(errors.ConditionNotMet):
        pass

    assert answer_for(Special) == answer_for(errors.ConditionNotMet)
    assert answer_for(ZeroDivisionError) == (errno.EIO, logging.ERROR)
    assert answer_for(AzureFilesError) == (errno.EIO, logging.ERROR)


def test_a_translated_error_keeps_the_request():
    """The reason names operation, path and request id, so that the log line can be followed up."""
    failure = errors.FileLocked(
        "locked", status=409, request_id="r-1", operation="PutRange", path="a/b"
    )

    error = to_vfs_error(failure)

    assert (error.errno, error.log_level) == (errno.EBUSY, logging.WARNING)
    assert all(part in error.reason for part in ("locked", "r-1", "PutRange", "a/b"))


def test_an_error_shows_its_errno_by_name():
    """The text of a VfsError begins with the symbol, and shows a number that has none."""
    assert str(VfsError(errno.ENOENT)) == "ENOENT"
    assert str(VfsError(errno.EIO, "why")) == "EIO: why"
    assert str(VfsError(99999, "why")) == "99999: why"


def expected_table() -> str:
    """Write the table of the reference page."""
    lines = [HEADING]
    for group in groups():
        for kind in (group, *leaves(group)):
            number, level = answer_for(kind)
            name = f"**{kind.__name__}**" if kind is group else kind.__name__
            meaning = (
                (inspect.getdoc(kind) or "")
                .partition("\n\n")[0]
                .replace("\n", " ")
                .replace("``", "`")
            )
            log = logging.getLevelName(level).lower()
            lines.append(f"| {name} | {errno.errorcode[number]} | {log} | {meaning} |")
    return "\n".join(lines)


def test_the_reference_page_shows_the_table():
    """docs/reference/errors.md agrees, row by row, with the code."""
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(HEADING)
    shown = (found + rest).partition("\n\n")[0].strip()

    assert shown == expected_table()
