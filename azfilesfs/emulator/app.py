"""The ASGI application: parse, authenticate, act, answer; faults and a slow network in between."""

from __future__ import annotations

import hashlib
import itertools
import logging
import secrets
from typing import Final

import trio

from azfilesfs.emulator.answer import Answer, refusal
from azfilesfs.emulator.auth import authenticate
from azfilesfs.emulator.content import MemoryContents
from azfilesfs.emulator.control import Control
from azfilesfs.emulator.counters import RequestCounters
from azfilesfs.emulator.delivery import (
    Disconnected,
    Receive,
    Scope,
    Send,
    read_body,
    send_answer,
    serve_lifespan,
)
from azfilesfs.emulator.disk_content import DiskContents
from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.faults import ConnectionCut, FaultRule, Faults
from azfilesfs.emulator.network import Network
from azfilesfs.emulator.offload import redirected
from azfilesfs.emulator.operations.table import Operation, find_operation
from azfilesfs.emulator.options import EmulatorOptions
from azfilesfs.emulator.request import CONTROL_SEGMENT, Body, Request, parse
from azfilesfs.emulator.shares import MemoryStore, Service
from azfilesfs.emulator.store import SqliteStore
from azfilesfs.emulator.wire import iso, rfc1123

logger = logging.getLogger(__name__)

SERVER: Final = "Windows-Azure-File/1.0 Microsoft-HTTPAPI/2.0"
ABORT_KEY: Final = "azfilesfs.abort"
"""Where a server puts, in the scope's state, the function that cuts the connection.

It is a coroutine function with the argument ``is_reset``: whether the peer shall see a reset.
"""

_HASH_IN_THREAD_BYTES: Final = 512 * 1024
_MAX_CLIENT_ID: Final = 1024


def create_app(options: EmulatorOptions | None = None) -> EmulatorApp:
    """Build an emulator with what its data directory holds, and with the shares that are wanted.

    Raises:
        OSError: the data directory cannot be used, or another emulator uses it.
        InvalidShareName: a share to create has a name that the service forbids.
    """
    chosen = EmulatorOptions() if options is None else options
    if chosen.data is None:
        service = Service(chosen, MemoryStore(), MemoryContents())
    else:
        store = SqliteStore.open(chosen.data)
        contents = DiskContents(chosen.data / "content")
        service = Service(chosen, store, contents)
        store.load(service, contents)
    service.create_missing_shares()
    return EmulatorApp(service)


class EmulatorApp:
    """The service as an ASGI application, for one trio run at a time.

    In process a cut connection raises ``ConnectionCut`` out of the application; under a server that
    puts a function under ``ABORT_KEY`` into the scope's state, the connection is closed instead.

    Attributes:
        service: the state; tests may look at it and change it between requests.
        requests: counts of what was asked.
        faults: the plan of what goes wrong.
        network: latency and bandwidth.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.requests = RequestCounters()
        self.faults = Faults()
        self.network = Network()
        self._control = Control(self.requests, self.faults, self.network)
        self._id_prefix = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}"
        self._serial = itertools.count(1)

    def close(self) -> None:
        """Commit and give the data directory back."""
        self.service.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan of a server."""
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"this application does not serve {scope['type']}")
        try:
            await self._serve(scope, receive, send)
        except Disconnected:
            logger.debug("a client went away in the middle of its request")
        except ConnectionCut as cut:
            abort = (scope.get("state") or {}).get(ABORT_KEY)
            if abort is None:
                raise
            await abort(is_reset=not cut.in_answer)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._request_id()
        try:
            request = parse(scope, self.service.accounts)
        except ServiceError as error:
            await read_body(receive, 0)
            answer = self._refuse(error, scope["method"], request_id)
            await send_answer(send, self._common(None, request_id), answer)
            return
        if request.account == CONTROL_SEGMENT and request.path_style:
            request.body = await read_body(receive, _declared(request))
            answer = self._control.handle(
                request.method, request.segments, request.peer, request.body
            )
            await send_answer(send, self._common(None, request_id), answer)
            return
        await self._serve_operation(request, request_id, receive, send)

    async def _serve_operation(
        self, request: Request, request_id: str, receive: Receive, send: Send
    ) -> None:
        operation, early = self._identify(request)
        name = operation.name if operation is not None else "Unknown"
        rule = self.faults.choose(name, request)
        if rule is not None and rule.delay:
            await trio.sleep(rule.delay)
        if rule is not None and rule.cut == "before":
            self.requests.record(name, "cut", received=0, sent=0)
            raise ConnectionCut("cut before the effect")
        try:
            await self._receive_body(request, receive, rule)
        except ServiceError as error:
            early = early or error
        except ConnectionCut:
            self.requests.record(name, "cut", received=0, sent=0)
            raise
        due = await self.network.receive(len(request.body))
        answer = self._answer(operation, request, request_id, rule, early)
        self.network.answered(due)
        common = self._common(request, request_id, has_version=answer.has_version)
        await self._deliver(name, request, common, answer, rule, send)

    def _identify(self, request: Request) -> tuple[Operation | None, ServiceError | None]:
        try:
            return find_operation(request), None
        except ServiceError as error:
            return None, error

    async def _receive_body(
        self, request: Request, receive: Receive, rule: FaultRule | None
    ) -> None:
        declared = _declared(request)
        cut_at = declared // 2 if rule is not None and rule.cut == "request" else None
        request.body = await read_body(receive, declared, cut_at)
        if request.wants_body_md5 and len(request.body) >= _HASH_IN_THREAD_BYTES:
            request.md5 = await trio.to_thread.run_sync(_md5, request.body)

    def _answer(
        self,
        operation: Operation | None,
        request: Request,
        request_id: str,
        rule: FaultRule | None,
        early: ServiceError | None,
    ) -> Answer:
        """Act on the state, in one synchronous step."""
        try:
            if early is not None or operation is None:
                raise early or ServiceError("InvalidUri")
            if rule is not None and rule.status is not None and not rule.effect:
                raise _planned(rule)
            answer = self._act(operation, request)
            if rule is not None and rule.status is not None:
                raise _planned(rule)
        except ServiceError as error:
            answer = self._refuse(error, request.method, request_id)
            answer.has_version = operation is not None
        except Exception:
            logger.exception("an operation failed: %s %s", request.method, request.raw_path)
            answer = self._refuse(ServiceError("InternalError"), request.method, request_id)
        return answer

    def _refuse(self, error: ServiceError, method: str, request_id: str) -> Answer:
        facts = f"RequestId:{request_id}\nTime:{iso(self.service.clock.now())}"
        return refusal(error, is_head=method == "HEAD", facts=facts)

    def _act(self, operation: Operation, request: Request) -> Answer:
        if self.service.options.strict_conditions:
            for name in request.headers:
                if name.startswith("if-"):
                    raise ServiceError("ConditionHeadersNotSupported")
        authenticate(self.service, request, operation.need)
        if "x-ms-structured-body" in request.headers:
            # Its frame must not become content; checksums are not offered in this form.
            raise ServiceError("UnsupportedHeader", extras={"HeaderName": "x-ms-structured-body"})
        try:
            return operation.handler(self.service, request)
        finally:
            # Also after a refusal: leases expire and copies complete while one is found.
            self.service.commit()

    async def _deliver(
        self,
        name: str,
        request: Request,
        common: list[tuple[str, str]],
        answer: Answer,
        rule: FaultRule | None,
        send: Send,
    ) -> None:
        cut_after = None
        if rule is not None:
            cut_after = self.faults.spoil(rule, "/".join(request.segments), answer)
        self.faults.note_answer("/".join(request.segments), answer)
        sent = answer.body_length if cut_after is None else cut_after
        status = str(answer.status) if cut_after is None else "cut"
        self.requests.record(name, status, received=len(request.body), sent=sent)
        if cut_after == 0 and not _lies_about_length(rule):
            raise ConnectionCut("cut after the effect")
        await self.network.send(sent)
        if request.is_offloaded and cut_after is None:
            answer = redirected(answer) or answer
        await send_answer(send, common, answer, cut_after)

    def _request_id(self) -> str:
        serial = next(self._serial)
        middle = f"{serial >> 40 & 0xFFFF:04x}-{serial >> 24 & 0xFFFF:04x}"
        return f"{self._id_prefix}-{middle}-{serial & 0xFFFFFF:06x}000000"

    def _common(
        self, request: Request | None, request_id: str, *, has_version: bool = True
    ) -> list[tuple[str, str]]:
        headers = [("server", SERVER), ("x-ms-request-id", request_id)]
        if request is not None:
            version = request.version or request.headers.get("x-ms-version", "")
            if has_version and version:
                headers.append(("x-ms-version", version))
            client_id = request.headers.get("x-ms-client-request-id", "")
            if 0 < len(client_id) <= _MAX_CLIENT_ID and client_id.isascii():
                headers.append(("x-ms-client-request-id", client_id))
        headers.append(("date", rfc1123(self.service.clock.now())))
        return headers


def _planned(rule: FaultRule) -> ServiceError:
    return ServiceError(rule.code, status=rule.status)


def _lies_about_length(rule: FaultRule | None) -> bool:
    return rule is not None and rule.cut is None and "content-length" in rule.answer_headers


def _declared(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _md5(body: Body) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()
