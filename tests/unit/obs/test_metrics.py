"""Metrics: the names that are promised, the numbers that are counted, and how they are served."""

import re
import socket
import threading
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from azfilesfs.obs import definitions
from azfilesfs.obs.definitions import Kind
from azfilesfs.obs.exporter import exported
from azfilesfs.obs.metrics import Gauges, Metrics
from tests.features import REPOSITORY

PAGE = REPOSITORY / "docs" / "reference" / "metrics.md"
ROW = re.compile(
    r"^\| `(azure_files_\w+|azfilesfs_\w+)` \| (\w+) \| ?([\w, ]*?) ?\| (\w+) \|", re.M
)


def scrape(port: int) -> str:
    """Ask the exporter on the loopback address."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def values(metrics: Metrics) -> dict[tuple, float]:
    """Return all samples of the registry by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def test_names_of_the_specification():
    """The five metrics that were asked for exist with exactly these kinds and labels."""
    found = {each.name: (each.kind, set(each.labels)) for each in definitions.ALL}

    assert found["azure_files_operations_total"] == (
        Kind.COUNTER,
        {"share", "operation", "status"},
    )
    assert found["azure_files_latency_seconds"] == (Kind.HISTOGRAM, {"share", "operation"})
    assert found["azure_files_bytes_total"] == (Kind.COUNTER, {"share", "direction"})
    assert found["azure_files_active_leases"] == (Kind.GAUGE, {"share"})
    assert found["azure_files_errors_total"] == (Kind.COUNTER, {"operation", "error_type"})


def test_the_page_lists_every_metric():
    """The reference page and the definitions agree on name, kind, labels and stability."""
    rows = {
        (name, kind, tuple(filter(None, labels.replace(" ", "").split(","))), stability)
        for name, kind, labels, stability in ROW.findall(PAGE.read_text(encoding="utf-8"))
    }

    assert rows == {
        (each.name, each.kind.value, each.labels, each.stability.value) for each in definitions.ALL
    }


def test_every_definition_is_exported():
    """What is defined is served with its help, kind and labels, and nothing of ours beside it."""
    metrics = Metrics("share")
    metrics.read_at_scrape(lambda: Gauges({}, {}))
    metrics.operation("PutRange", "201", 0.1, "ServerBusy")
    metrics.request_bytes(1, 1)
    metrics.retry("PutRange")
    metrics.kernel_operation("read", 0.1, "EIO")
    with exported(metrics, "127.0.0.1", 0) as port:
        families = {f.name: f for f in text_string_to_metric_families(scrape(port))}

    for each in definitions.ALL:
        family = families[each.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (each.kind.value, each.help)
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        assert labels == set(each.labels)
    ours = {name for name in families if name.startswith(("azfilesfs_", "azure_files_"))}
    assert ours == {each.name.removesuffix("_total") for each in definitions.ALL}
    assert families["process_resident_memory_bytes"].samples[0].value > 0


def test_operations_are_counted():
    """Status, duration, bytes, errors and repetitions land where they belong."""
    metrics = Metrics("data")
    metrics.operation("GetFile", "206", 0.02, None)
    metrics.operation("GetFile", "503", 3.0, "ServerBusy")
    metrics.request_bytes(0, 4096)
    metrics.request_bytes(100, 0)
    metrics.retry("GetFile")
    found = values(metrics)

    def of(name: str, **labels: str) -> float:
        return found[name, *sorted(labels.items())]

    one = {"share": "data", "operation": "GetFile"}
    assert of("azure_files_operations_total", **one, status="206") == 1
    assert of("azure_files_operations_total", **one, status="503") == 1
    assert of("azure_files_latency_seconds_sum", **one) == pytest.approx(3.02)
    assert of("azure_files_latency_seconds_bucket", **one, le="0.025") == 1
    assert of("azure_files_bytes_total", share="data", direction="received") == 4096
    assert of("azure_files_bytes_total", share="data", direction="sent") == 100
    assert of("azure_files_errors_total", operation="GetFile", error_type="ServerBusy") == 1
    assert of("azure_files_retries_total", operation="GetFile") == 1


def test_operations_of_the_kernel_are_counted():
    """Each has a histogram, and its errno is counted when it failed."""
    metrics = Metrics("data")
    metrics.kernel_operation("read", 0.0002, None)
    metrics.kernel_operation("read", 0.3, "EIO")
    found = values(metrics)

    read = ("operation", "read")
    assert found["azfilesfs_fuse_operation_seconds_count", read] == 2
    assert found["azfilesfs_fuse_operation_seconds_bucket", ("le", "0.00025"), read] == 1
    assert found["azfilesfs_fuse_errors_total", ("errno", "EIO"), read] == 1


def test_leases_never_fall_below_zero():
    """A lease that somebody else had taken and we break is not a debt."""
    metrics = Metrics("data")
    metrics.read_at_scrape(lambda: Gauges({}, {}))
    active = ("azure_files_active_leases", ("share", "data"))
    for difference, expected in ((1, 1), (1, 2), (-1, 1), (-1, 0), (-1, 0)):
        metrics.leases_changed(difference)
        assert values(metrics)[active] == expected


def test_breaker_is_in_one_state():
    """Exactly one state is shown as 1, closed at first."""
    metrics = Metrics("data")

    def states() -> dict[str, float]:
        return {
            state: values(metrics)["azure_files_breaker_state", ("state", state)]
            for state in ("closed", "open", "half-open")
        }

    assert states() == {"closed": 1, "open": 0, "half-open": 0}
    metrics.breaker_changed("half-open")
    assert states() == {"closed": 0, "open": 0, "half-open": 1}


def test_gauges_are_read_at_each_scrape():
    """What the parts say at that moment is served."""
    metrics = Metrics("data")
    dirty = [5]
    metrics.read_at_scrape(lambda: Gauges({"dirty_bytes": dirty[0]}, {"cache_misses": 7}))
    with exported(metrics, "127.0.0.1", 0) as port:
        assert "azfilesfs_dirty_bytes 5.0" in scrape(port)
        dirty[0] = 6
        text = scrape(port)

    assert "azfilesfs_dirty_bytes 6.0" in text
    assert "azfilesfs_cache_misses_total 7.0" in text


@pytest.mark.expect_log("gauges cannot be read")
def test_failing_parts_do_not_hide_the_counters():
    """A part that raises while it is read costs its gauges, not the whole answer."""
    metrics = Metrics("data")

    def broken() -> Gauges:
        raise RuntimeError("a table changed while it was read")

    metrics.read_at_scrape(broken)
    metrics.retry("GetFile")
    with exported(metrics, "127.0.0.1", 0) as port:
        text = scrape(port)

    assert 'azure_files_retries_total{operation="GetFile"} 1.0' in text
    assert "azfilesfs_dirty_bytes" not in text


def test_exporter_ends_with_its_block():
    """Afterwards no thread is left and the port is free."""
    before = threading.active_count()
    with exported(Metrics("data"), "127.0.0.1", 0) as port:
        scrape(port)

    assert threading.active_count() == before
    with pytest.raises(urllib.error.URLError):
        scrape(port)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


def test_taken_port_is_an_error():
    """An address that somebody listens on already is reported, and no thread is started."""
    before = threading.active_count()
    with (
        exported(Metrics("one"), "127.0.0.1", 0) as port,
        pytest.raises(OSError, match="in use"),
        exported(Metrics("two"), "127.0.0.1", port),
    ):
        pass

    assert threading.active_count() == before


def test_two_mounts_have_registries_of_their_own():
    """Metrics of one mount do not show up at another."""
    one, two = Metrics("one"), Metrics("two")
    one.retry("GetFile")

    assert ("azure_files_retries_total", ("operation", "GetFile")) not in values(two)
