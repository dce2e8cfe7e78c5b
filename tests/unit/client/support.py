"""A scripted service: answers and failures one after the other, and what was asked."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from azfilesfs.client import (
    AttemptEvent,
    BreakerState,
    ClientOptions,
    Endpoint,
    HttpRequest,
    HttpResponse,
    HttpTransport,
    NullObserver,
    RetryEvent,
    Secret,
    ShareClient,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
)

ACCOUNT = "myaccount"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
ENDPOINT = Endpoint(f"http://127.0.0.1:10004/{ACCOUNT}", ACCOUNT)
CREDENTIAL = SharedKeyCredential(ACCOUNT, Secret(KEY))
DATE = "Mon, 27 Jan 2014 22:15:50 GMT"
TIME = "2022-11-30T22:57:12.2909957Z"
COMMON = {"x-ms-request-id": "request-1", "x-ms-version": "2026-10-06", "Date": DATE}
CHANGED = {**COMMON, "ETag": '"0x8DED14FE7569F80"', "Last-Modified": DATE}
SHOWN = {
    **CHANGED,
    "x-ms-file-id": "13835128424026341376",
    "x-ms-file-parent-id": "0",
    "x-ms-file-attributes": "Archive",
    "x-ms-file-creation-time": TIME,
    "x-ms-file-last-write-time": TIME,
    "x-ms-file-change-time": TIME,
}

Step = HttpResponse | Exception | Callable[[HttpRequest], HttpResponse]


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> HttpResponse:
    """Return an answer with these headers only; Content-Length goes with the body."""
    return HttpResponse(status, headers=COMMON if headers is None else headers, content=body)


def refusal(status: int, code: str | None, body: str = "", **headers: str) -> HttpResponse:
    """Return an error of the service."""
    named = {"x-ms-error-code": code} if code else {}
    text = (
        f"\ufeff<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message>{body}</Error>"
    )
    return HttpResponse(
        status,
        headers={**COMMON, **named, **{k.replace("_", "-"): v for k, v in headers.items()}},
        content=text.encode(),
    )


def shown_file(size: int) -> HttpResponse:
    """Return the answer to a HEAD of a file."""
    return HttpResponse(200, headers={**SHOWN, "Content-Length": str(size), "x-ms-type": "File"})


@dataclass
class Script(HttpTransport):
    """Plays its steps in order, and then the last one for ever."""

    steps: list[Step]
    requests: list[HttpRequest] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def handle_async_request(self, request: HttpRequest) -> HttpResponse:
        """Answer with the next step."""
        self.bodies.append(await request.aread())
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        if not isinstance(step, HttpResponse):
            return step(request)
        # A fresh one each time, as its stream is used up; HEAD has no body.
        body = step.content if request.method != "HEAD" else b""
        return HttpResponse(
            step.status_code,
            headers=step.headers.raw,
            stream=HttpResponse(200, content=body).stream,
        )

    @property
    def lines(self) -> list[str]:
        """What was asked: method and URL without the endpoint."""
        return [
            f"{request.method} {str(request.url).removeprefix(ENDPOINT.url)}"
            for request in self.requests
        ]


class Recorder(NullObserver):
    """Keeps every event."""

    def __init__(self) -> None:
        """Start empty."""
        self.attempts: list[AttemptEvent] = []
        self.operations: list[AttemptEvent] = []
        self.retries: list[RetryEvent] = []
        self.states: list[BreakerState] = []
        self.refreshes: list[bool] = []
        self.versions: list[str] = []

    def attempt_finished(self, event: AttemptEvent) -> None:
        """Keep it."""
        self.attempts.append(event)

    def operation_finished(self, event: AttemptEvent) -> None:
        """Keep it."""
        self.operations.append(event)

    def retrying(self, event: RetryEvent) -> None:
        """Keep it."""
        self.retries.append(event)

    def breaker_changed(self, state: BreakerState) -> None:
        """Keep it."""
        self.states.append(state)

    def credentials_refreshed(self, *, changed: bool) -> None:
        """Keep it."""
        self.refreshes.append(changed)

    def version_changed(self, version: str) -> None:
        """Keep it."""
        self.versions.append(version)


@asynccontextmanager
async def scripted(
    steps: Sequence[Step], options: ClientOptions | None = None
) -> AsyncIterator[tuple[ShareClient, Script]]:
    """Open a share whose service plays the steps."""
    script = Script(list(steps))
    async with ShareServiceClient.open(
        ENDPOINT, StaticCredentials(CREDENTIAL), options, transport=script
    ) as service:
        yield service.share("myshare"), script
