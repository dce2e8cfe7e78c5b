"""``/_emulator/...``: counts, faults and the network, for peers on this machine only."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.counters import RequestCounters
from azfilesfs.emulator.faults import Faults
from azfilesfs.emulator.network import Network, NetworkSettings
from azfilesfs.emulator.request import Body


def is_loopback(peer: str) -> bool:
    """Tell whether an address is this machine's own."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _json_answer(data: object, status: int = 200) -> Answer:
    body = json.dumps(data, indent=2).encode() + b"\n"
    return Answer(
        status, [("content-type", "application/json")], body, len(body), has_version=False
    )


class Control:
    """The control interface over the parts that it controls."""

    def __init__(self, requests: RequestCounters, faults: Faults, network: Network) -> None:
        self._requests = requests
        self._faults = faults
        self._network = network
        self._routes: dict[tuple[str, str], Callable[[Body], Answer]] = {
            ("GET", "requests"): self._get_requests,
            ("DELETE", "requests"): self._reset_requests,
            ("GET", "faults"): self._get_faults,
            ("PUT", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "network"): self._get_network,
            ("PUT", "network"): self._set_network,
            ("DELETE", "network"): self._clear_network,
        }

    def handle(self, method: str, segments: tuple[str, ...], peer: str, body: Body) -> Answer:
        """Answer one request; ``segments`` is the path after ``_emulator``."""
        if not is_loopback(peer):
            return _json_answer({"error": "only peers on this machine may do this"}, 403)
        name = segments[0] if len(segments) == 1 else ""
        route = self._routes.get((method, name))
        if route is None:
            known = any(name == path for _, path in self._routes)
            return _json_answer({"error": "no such control"}, 405 if known else 404)
        try:
            return route(body)
        except ValueError as error:
            return _json_answer({"error": str(error)}, 400)

    def _get_requests(self, body: Body) -> Answer:
        return _json_answer(self._requests.counts())

    def _reset_requests(self, body: Body) -> Answer:
        self._requests.reset()
        return _json_answer(self._requests.counts())

    def _get_faults(self, body: Body) -> Answer:
        return _json_answer(self._faults.state())

    def _set_faults(self, body: Body) -> Answer:
        self._faults.set_plan(_parse(body))
        return _json_answer(self._faults.state())

    def _clear_faults(self, body: Body) -> Answer:
        self._faults.clear()
        return _json_answer(self._faults.state())

    def _get_network(self, body: Body) -> Answer:
        settings = self._network.settings
        return _json_answer(
            {"latency": settings.latency, "mib_per_second": settings.mib_per_second}
        )

    def _set_network(self, body: Body) -> Answer:
        self._network.set(NetworkSettings.from_json(_parse(body)))
        return self._get_network(body)

    def _clear_network(self, body: Body) -> Answer:
        self._network.set(NetworkSettings())
        return self._get_network(body)


def _parse(body: Body) -> object:
    try:
        data: object = json.loads(bytes(body))
        return data
    except UnicodeDecodeError:
        raise ValueError("the body is not UTF-8") from None
