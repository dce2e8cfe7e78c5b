"""The transport alone, against nginx over TLS: large GETs and PUTs beside curl, and small requests.

``measure`` returns the rows; as a program it prints them, or writes them as JSON. Needs nginx and
curl. All contenders take turns within one run, after a pass of the same size that does not count.
CPU is that of the contender's process alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import trio

from azfilesfs.client.transport import Transport, TransportKind, WireRequest, network_transport
from azfilesfs.daemon.allocator import Allocator
from azfilesfs.daemon.collector import collecting_seldom
from azfilesfs.emulator.tls import make_certificates

MIB: Final = 1 << 20
BLOCK: Final = 4 * MIB
SMALL: Final = 512
START_SECONDS: Final = 10.0
RUN_SECONDS: Final = 300
_CURL: Final = (
    "curl", "--silent", "--show-error", "--fail", "--no-progress-meter", "--http1.1",
    "--parallel", "--parallel-immediate",
)  # fmt: skip
_HEADERS: Final = {
    "Host": "127.0.0.1",
    "User-Agent": "azfilesfs/0",
    "Accept-Encoding": "identity",
    "x-ms-version": "2026-10-06",
    "x-ms-date": "Mon, 27 Jan 2014 22:15:50 GMT",
    "x-ms-client-request-id": "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
    "x-ms-allow-trailing-dot": "true",
    "Authorization": "SharedKey a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is moved: ``work`` (get, put, small), how many requests at once, how many in all."""

    work: str
    at_once: int
    requests: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed pass of one contender."""

    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one case: medians over the repeats, and what they are of, in turn.

    Attributes:
        rates: MB/s of large transfers; requests per second of small ones.
        cpus: seconds per GiB of large transfers; milliseconds per request of small ones.
        ratios: to curl in the same repeat, none where curl has no part.
    """

    work: str
    at_once: int
    contender: str
    rates: tuple[float, ...]
    cpus: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def mb_per_second(self) -> float:
        """The median of the rates."""
        return statistics.median(self.rates)

    @property
    def cpu(self) -> float:
        """The median of what one transfer takes."""
        return statistics.median(self.cpus)

    @property
    def of_curl(self) -> float | None:
        """The median of the ratios to curl, None where curl has no part."""
        return statistics.median(self.ratios) if self.ratios else None


CASES: Final = (
    Case("get", 8, 160),
    Case("put", 8, 160),
    Case("small", 16, 32_000),
    Case("small", 64, 32_000),
)


@dataclass(frozen=True, slots=True)
class Service:
    """A running nginx, and the folder of its files."""

    folder: Path
    port: int

    @property
    def ca_file(self) -> Path:
        """The authority of its certificate."""
        return self.folder / "ca.pem"


_CONFIGURATION: Final = """\
{user}worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; types {{ }}
    client_max_body_size 16m; client_body_buffer_size 256k; client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s; ssl_buffer_size 16k; ssl_protocols TLSv1.3;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    server {{
        listen 127.0.0.1:{port} ssl; root {folder}/www;
        location /put/ {{ dav_methods PUT; }}
    }}
}}
"""


@contextmanager
def serving() -> Iterator[Service]:
    """Run an nginx with something to fetch for a block.

    Raises:
        RuntimeError: nginx or curl is not installed, or nginx does not start.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin")
    if program is None or shutil.which("curl") is None:
        raise RuntimeError("please install nginx and curl")
    with tempfile.TemporaryDirectory(prefix="azfilesfs-bench-", dir="/dev/shm") as name:
        service = Service(Path(name), _free_port())
        _write_files(service)
        command = [program, "-e", f"{name}/early.log", "-c", f"{name}/nginx.conf"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as nginx:
            try:
                _wait_for(service.port, nginx)
                yield service
            finally:
                nginx.terminate()


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def _write_files(service: Service) -> None:
    folder = service.folder
    certificates = make_certificates()
    service.ca_file.write_bytes(certificates.authority)
    (folder / "server.pem").write_bytes(certificates.server + certificates.server_key)
    (folder / "www" / "put").mkdir(parents=True)
    (folder / "www" / "get").write_bytes(bytes(range(256)) * (BLOCK // 256))
    (folder / "www" / "small").write_bytes(b"x" * SMALL)
    # The workers of a root's nginx would be nobody, who may not read these files.
    user = "user root; " if os.geteuid() == 0 else ""
    text = _CONFIGURATION.format(folder=folder, port=service.port, user=user)
    (folder / "nginx.conf").write_text(text)


def _wait_for(port: int, nginx: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and nginx.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("nginx does not start")


def _run_curl(service: Service, case: Case) -> Sample:
    """Let one curl do the transfers of a case."""
    lines = [f'cacert = "{service.ca_file}"', 'header = "Expect:"']
    for number in range(case.requests):
        if case.work == "put":
            lines.append(f'upload-file = "{service.folder}/www/get"')
        place = f"put/{number % case.at_once}" if case.work == "put" else case.work
        lines += [f'url = "https://127.0.0.1:{service.port}/{place}"', 'output = "/dev/null"']
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [*_CURL, "--parallel-max", str(case.at_once), "--config", "-"],
        input="\n".join(lines).encode(),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=RUN_SECONDS,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Sample(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _run_worker(service: Service, case: Case, kind: TransportKind) -> Sample:
    """Let a process of its own do the transfers of a case."""
    given = {"ca": str(service.ca_file), "port": service.port, "kind": kind.value, **asdict(case)}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.transport", "--worker", json.dumps(given)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=RUN_SECONDS,
    )
    return Sample(**json.loads(done.stdout))


async def _work(given: dict[str, str | int]) -> Sample:
    case = Case(str(given["work"]), int(given["at_once"]), int(given["requests"]))
    inner = network_transport(
        is_https=True, ca_file=str(given["ca"]), proxy=None, kind=TransportKind(given["kind"])
    )
    # As the daemon does: what a body was received into serves the next one.
    Allocator().tune()
    transport = Transport(inner, case.at_once)
    body = bytes(range(256)) * (BLOCK // 256) if case.work == "put" else b""
    await _transfers(transport, case, int(given["port"]), body, 2 * case.at_once)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await _transfers(transport, case, int(given["port"]), body, case.requests)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    await inner.aclose()
    return Sample(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


async def _transfers(
    transport: Transport, case: Case, port: int, body: bytes, requests: int
) -> None:
    left = iter(range(requests))

    async def one(number: int) -> None:
        length = {"Content-Length": str(len(body))} if body else {}
        place = f"put/{number}" if case.work == "put" else case.work
        for _ in left:
            answer = await transport.send(
                WireRequest(
                    method="PUT" if body else "GET",
                    url=f"https://127.0.0.1:{port}/{place}",
                    headers={**_HEADERS, **length},
                    body=memoryview(body),
                    connect_seconds=10,
                    idle_seconds=60,
                ),
                BLOCK,
            )
            assert answer.status in {200, 201, 204}
            assert len(answer.body) == {"get": BLOCK, "put": 0, "small": SMALL}[case.work]

    async with trio.open_nursery() as nursery:
        for number in range(case.at_once):
            nursery.start_soon(one, number)


def measure(repeats: int, *, with_httpx: bool = True) -> list[Row]:
    """Run all cases so many times, the contenders in turns, and return the medians.

    Raises:
        RuntimeError: nginx or curl is missing or does not start.
        subprocess.CalledProcessError: a contender failed.
    """
    kinds = list(TransportKind) if with_httpx else [TransportKind.FAST]
    samples: dict[Case, dict[str, list[Sample]]] = {case: {} for case in CASES}
    with serving() as service:
        for turn in range(repeats + 1):
            # Every other turn backwards, so that none of two cases always comes second.
            for case in CASES if turn % 2 else reversed(CASES):
                passes = {"curl": _run_curl(service, case)} if case.work != "small" else {}
                passes |= {kind.value: _run_worker(service, case, kind) for kind in kinds}
                if turn:
                    for name, sample in passes.items():
                        samples[case].setdefault(name, []).append(sample)
    return [_row(case, name, samples[case]) for case in CASES for name in samples[case]]


def _row(case: Case, name: str, samples: dict[str, list[Sample]]) -> Row:
    own, curl = samples[name], samples.get("curl", [])
    moved = case.requests * BLOCK
    rate, cost = float(case.requests), 1e3 / case.requests
    if case.work != "small":
        rate, cost = moved / 1e6, 2**30 / moved
    return Row(
        work=case.work,
        at_once=case.at_once,
        contender=name,
        rates=tuple(rate / sample.seconds for sample in own),
        cpus=tuple(sample.cpu * cost for sample in own),
        ratios=tuple(
            theirs.seconds / mine.seconds for mine, theirs in zip(own, curl, strict=False)
        ),
    )


def main() -> int:
    """Run the benchmark as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--no-httpx", action="store_true", help="leave the slow transport out")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        with collecting_seldom():  # as the daemon does
            sample = trio.run(_work, json.loads(given.worker))
        print(json.dumps(asdict(sample)))
        return 0
    rows = measure(given.repeats, with_httpx=not given.no_httpx)
    for row in rows:
        ratio = f"{row.of_curl:6.2f} of curl" if row.of_curl is not None else ""
        units = ("req/s", "ms CPU each") if row.work == "small" else ("MB/s", "CPU s/GiB")
        print(
            f"{row.work:6}{row.at_once:4} at once  {row.contender:6}"
            f"{row.mb_per_second:8.0f} {units[0]:6}{row.cpu:8.3f} {units[1]:12}{ratio}"
        )
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
