"""Fields that few objects of a class set, and that cost the others nothing."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class HasAside(Protocol):
    """An object with fields of this kind; ``_aside`` holds those that are not at their default."""

    _aside: dict[str, Any] | None


class Seldom(Generic[T]):
    """A field that is kept aside, in a dict that an object has only while it needs one.

    There may be a million inodes, and most are names of a listing that nobody opens.
    """

    def __init__(self, default: T) -> None:
        self._default = default
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: HasAside, owner: type) -> T:
        aside = instance._aside
        if aside is None:
            return self._default
        value: T = aside.get(self._name, self._default)
        return value

    def __set__(self, instance: HasAside, value: T) -> None:
        aside = instance._aside
        if value is self._default or value == self._default:
            if aside is not None:
                aside.pop(self._name, None)
                if not aside:
                    instance._aside = None
        elif aside is None:
            instance._aside = {self._name: value}
        else:
            aside[self._name] = value
