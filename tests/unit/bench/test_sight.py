"""What the second client sees, and how long its requests take."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from scripts.bench import sight
from scripts.bench.latency import round_trip_ms
from scripts.bench.service import BenchService
from scripts.bench.sight import Sight, local_sizes, wait_for_rest


class FakeRest:
    """A second client whose service is a dictionary of files, shown in pages of two entries."""

    def __init__(self, files: dict[str, int]) -> None:
        self.files = files
        self.asked: list[str] = []
        self.closed = 0
        self.on_ask: Callable[[], None] = lambda: None

    def another(self) -> "FakeRest":
        return self

    def close(self) -> None:
        self.closed += 1

    def path(self, name: str, query: str = "") -> str:
        return f"/{name}?{query}"

    def ask(self, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        folder = parts.path[1:]
        self.asked.append(folder)
        self.on_ask()
        names = sorted({
            path[len(folder) + 1 :].partition("/")[0]
            for path in self.files
            if path.startswith(folder + "/")
        })  # fmt: skip
        if not names:
            return 404, {}, b""
        start = int(parse_qs(parts.query).get("marker", ["0"])[0])
        entries = "".join(self._entry(f"{folder}/{name}", name) for name in names[start:][:2])
        after = str(start + 2) if start + 2 < len(names) else ""
        text = f"<R><Entries>{entries}</Entries><NextMarker>{after}</NextMarker></R>"
        return 200, {}, b"\xef\xbb\xbf" + text.encode()

    def _entry(self, path: str, name: str) -> str:
        if path not in self.files:
            return f"<Directory><Name>{name}</Name></Directory>"
        size = f"<Properties><Content-Length>{self.files[path]}</Content-Length></Properties>"
        return f"<File><Name>{name}</Name>{size}</File>"


FILES = {"c/.git/index": 7, "c/a/1": 1, "c/a/2": 2, "c/a/3": 3, "c/top": 0, "other/x": 9}


def seen_by(rest: FakeRest) -> BenchService:
    """Return a service as far as the second client needs it."""
    return cast("BenchService", SimpleNamespace(rest=rest))


def test_a_look_sees_the_whole_tree():
    """All directories and all pages are looked at, by path from the root of the tree."""
    rest = FakeRest(FILES)
    found = Sight(seen_by(rest), "c")
    found.look()
    assert found.sizes == {".git/index": 7, "a/1": 1, "a/2": 2, "a/3": 3, "top": 0}
    assert found.shows({"a/3": 3, "top": 0})
    assert not found.shows({"a/3": 4})
    assert not found.shows({"a/4": 0})
    assert rest.closed == sight.CONNECTIONS


def test_waiting_looks_only_where_something_is_missing():
    """A directory whose files were all seen is not listed again, another until they are."""
    rest = FakeRest(dict(FILES))
    found = Sight(seen_by(rest), "c")
    found.look()
    del rest.asked[:]
    looks = iter(range(10))

    def grow() -> None:
        if next(looks) == 2:
            rest.files["c/a/3"] = 33

    rest.on_ask = grow
    found.wait_for({".git/index": 7, "a/1": 1, "a/3": 33})
    # Two pages a look; the third request is the first of the second look.
    assert rest.asked == ["c/a"] * 4


def test_gone_is_gone():
    """A directory is waited for until the service does not know it."""
    rest = FakeRest(dict(FILES))
    rest.on_ask = lambda: rest.files.clear() if len(rest.asked) == 3 else None
    Sight(seen_by(rest), "c").wait_until_gone()
    assert rest.asked == ["c"] * 3


def test_sizes_of_a_local_tree(tmp_path: Path):
    """Regular files count, in hidden directories too; links and directories do not."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_bytes(b"1234567")
    (tmp_path / "top").touch()
    (tmp_path / "link").symlink_to("top")
    assert local_sizes(tmp_path) == {".git/index": 7, "top": 0}


def test_rest_is_when_nothing_is_asked_any_more(monkeypatch: pytest.MonkeyPatch):
    """The time without a request starts anew with each request."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    counts = iter([1, 2, 2, 3])

    class Counting:
        def counts(self) -> Any:
            return SimpleNamespace(requests=next(counts, 3))

    wait_for_rest(cast("BenchService", SimpleNamespace(rest=Counting())), 1.0)
    # The last request was seen after three looks, which are 0.05 s and a little apart.
    assert 1.15 <= now < 1.3


class SlowRest:
    """A second client whose requests take 0.5 ms and what the latency says, a tenth more."""

    def __init__(self) -> None:
        self.now = 0.0
        self.latency = 0.0

    def path(self, name: str) -> str:
        return f"/{name}"

    def set_latency(self, milliseconds: float) -> None:
        self.latency = milliseconds

    def ask(self, method: str, target: str) -> None:
        self.now += (0.5 + 1.1 * self.latency) / 1000


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowRest:
    """Make a service in time of its own."""
    rest = SlowRest()
    monkeypatch.setattr(time, "perf_counter", lambda: rest.now)
    return rest


def test_a_round_trip_is_measured(slow: SlowRest):
    """It is the difference that the latency makes, and the latency is set afterwards."""
    service = cast("BenchService", SimpleNamespace(rest=slow))
    assert round_trip_ms(service, "f", 5) == pytest.approx(5.5)
    assert slow.latency == 5
    with pytest.raises(ValueError, match=r"add 0\.000 ms"):
        round_trip_ms(service, "f", 0)
    assert time.perf_counter() == slow.now
