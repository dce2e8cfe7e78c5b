"""The rim of the filesystem: nothing but ``VfsError`` leaves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from azfilesfs.errors import AzureFilesError
from azfilesfs.vfs.errors import to_vfs_error
from azfilesfs.vfs.writing import staging_error

_P = ParamSpec("_P")
_R = TypeVar("_R")


def translated(operation: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
    """Let nothing but VfsError out of an operation that fails at the service or the local disk."""

    @wraps(operation)
    async def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await operation(*args, **kwargs)
        except AzureFilesError as error:
            raise to_vfs_error(error) from error
        except OSError as error:
            raise staging_error(error) from error

    return wrapper
