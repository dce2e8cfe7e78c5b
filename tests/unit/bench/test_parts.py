"""Parts of the benchmarks that need no service."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.offload import KEPT_HEADERS, REQUEST_HEADERS, OffloadDirectory
from azfilesfs.emulator.options import EmulatorOptions
from scripts.bench.contenders import MEMORY_FILE, NotAvailable, Session, session
from scripts.bench.context import Context
from scripts.bench.curl import ranges
from scripts.bench.figures import RowResult
from scripts.bench.nginx import NginxPlan, configuration
from scripts.bench.processes import CpuMeter, MemorySampler, cpu_seconds, resident_mib
from scripts.bench.rest import Counts, make_signature
from scripts.bench.rows import Row
from scripts.bench.seed import MIB, SHARE, SeedFile, many_files, seed
from scripts.bench.work_sequential import sequential_read
from scripts.bench.work_small import make_archive, names, read_tree, write_plainly
from tests.unit.emulator.harness import Caller, FakeClock


async def test_seeded_files_are_served(tmp_path: Path):
    """What was put into the data directory is there once an emulator opens it."""
    files = [
        SeedFile("a/b/random", 5000),
        SeedFile("sparse", 1 << 30, is_sparse=True),
        *many_files("many", 3, 10),
    ]
    assert seed(tmp_path / "data", files) == 5

    app = create_app(EmulatorOptions(data=tmp_path / "data", check_date=False))
    try:
        call = Caller(app, FakeClock(), share=SHARE)
        random = await call("GET", "a/b/random")
        assert (random.status, len(random.body)) == (200, 5000)
        assert len(set(random.body)) > 100
        sparse = await call("HEAD", "sparse")
        assert sparse.headers["content-length"] == str(1 << 30)
        listed = await call("GET", "many?restype=directory&comp=list")
        found = [name.text for name in listed.xml.findall(".//File/Name")]
        assert found == ["file-000000", "file-000001", "file-000002"]
    finally:
        app.close()


def test_nginx_speaks_for_itself(tmp_path: Path):
    """Each header that only nginx may set is set or removed in every location of the emulator."""
    plan = NginxPlan(tmp_path / "n", OffloadDirectory(tmp_path / "o"), tmp_path / "d", 1001, 1002)
    text = configuration(plan, Path("/modules/headers.so"), "somebody")
    assert "user somebody;" in text
    assert text.count("{") == text.count("}")
    proxied = [part for part in text.split("location ") if "proxy_pass http://emulator" in part]
    assert len(proxied) == 2
    for part in proxied:
        for name in REQUEST_HEADERS:
            assert f"proxy_set_header {name} " in part
    for name in KEPT_HEADERS:
        variable = "$upstream_http_" + name.replace("-", "_")
        assert variable in text or name in {"accept-ranges", "cache-control"}


def test_ranges():
    """A file is cut into ranges of 4 MiB, the last one shorter."""
    size = (4 << 20) + 1
    assert ranges(size) == [(0, (4 << 20) - 1), (4 << 20, 4 << 20)]
    assert ranges(0) == []


def test_archive_and_tree(tmp_path: Path):
    """An archive has its files in twenty directories, and what was written is read back whole."""
    archive = tmp_path / "tree.tar"
    make_archive(archive, 45, 100)
    with tarfile.open(archive) as opened:
        assert [entry.name for entry in opened if entry.isfile()] == names(45)
    target = tmp_path / "target"
    target.mkdir()
    write_plainly(archive, target)
    assert read_tree(target) == 4500


def test_cpu_and_memory():
    """A process that works has used CPU, with those that it waited for; one that is gone none."""
    meter = CpuMeter({"me": os.getpid()})
    # The kernel counts in hundredths, and drops a part of one from each of two sums.
    burn = "import time\nwhile time.process_time() < 0.12: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert meter.used()["me"] >= 0.09
    assert resident_mib(os.getpid()) > 1
    assert cpu_seconds(2**22 + 1) == resident_mib(2**22 + 1) == 0.0


def test_memory_sampler():
    """The highest sample is kept, and memory that grows has a drift."""
    with MemorySampler(os.getpid()) as sampler:
        pass
    assert sampler.highest > 1
    sampler.samples = [10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 20.0, 20.0]
    assert sampler.drift() == 2.0
    sampler.samples = [5.0]
    assert sampler.drift() == 1.0


def test_own_requests_do_not_count():
    """What the second client asked is taken off."""
    assert Counts({"GetFile": 5, "PutRange": 2}, 10, 20, own=3).requests == 4


def test_signature_lasts():
    """The second client's signature allows reading and writing."""
    fields = dict(part.split("=", 1) for part in make_signature().split("&"))
    assert set("rwdlc") <= set(fields["sp"])


def test_unknown_contender(tmp_path: Path):
    """A name that nobody has is said."""
    with pytest.raises(NotAvailable, match="nobody is called someone"):
        session("someone", {}, tmp_path)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("ext4", {"MB/s from the page cache"}),
        ("memory", {"MB/s from the page cache", "MB/s from the disk cache"}),
    ],
)
def test_references_of_the_reading_row(tmp_path, name, figures):
    """The local disk shows its page cache; the file system in memory that of FUSE as well."""
    row = Row(
        name="seq-read",
        title="",
        workload="",
        contenders=(name,),
        settings={"mib": 1, "latencies": [], "at_once": 1},
    )
    result = RowResult()
    context = Context(row, result, tmp_path, tmp_path, repeats=1)

    @contextmanager
    def stand_in(*_: object) -> Iterator[Session]:
        (tmp_path / MEMORY_FILE).write_bytes(bytes(MIB))
        yield Session(tmp_path, 0)

    @contextmanager
    def no_service(*_: object) -> Iterator[object]:
        rest = SimpleNamespace(
            set_latency=lambda _: None, reset_counts=lambda: None, counts=lambda: Counts({}, 0, 0)
        )
        yield SimpleNamespace(rest=rest, pids={})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "session", stand_in)
        patch.setattr(Context, "service", no_service)
        sequential_read(context)

    samples = {figure: found[name] for figure, found in result.samples.items()}
    assert samples.keys() == figures
    assert all(len(found) == 1 and found[0] > 0 for found in samples.values())
