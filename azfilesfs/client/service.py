"""The public clients: an account's file service, and one share of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from azfilesfs.client.admission import RequestStatistics
from azfilesfs.client.copies import CopyOperations
from azfilesfs.client.credentials import CredentialProvider
from azfilesfs.client.directories import DirectoryOperations
from azfilesfs.client.endpoint import Endpoint, is_loopback
from azfilesfs.client.files import FileOperations
from azfilesfs.client.leases import LeaseOperations
from azfilesfs.client.network import proxy_for
from azfilesfs.client.options import ClientOptions
from azfilesfs.client.pipeline import Pipeline
from azfilesfs.client.ranges import RangeOperations
from azfilesfs.client.reads import ReadOperations
from azfilesfs.client.renames import RenameOperations
from azfilesfs.client.requests import Call, Fence, Target
from azfilesfs.client.responses import ShareItem, share_item_of
from azfilesfs.client.share_leases import ShareLeaseOperations
from azfilesfs.client.shares import ShareManagement
from azfilesfs.client.transport import (
    HttpTransport,
    Transport,
    WireAnswer,
    network_transport,
)
from azfilesfs.client.xml_documents import parse_document
from azfilesfs.errors import ProtocolError
from azfilesfs.model.limits import MIB

_PAGE_BYTES = 64 * MIB
_CLOSE_SECONDS = 5.0


class ShareClient(
    ShareManagement,
    ShareLeaseOperations,
    DirectoryOperations,
    FileOperations,
    ReadOperations,
    RangeOperations,
    RenameOperations,
    CopyOperations,
    LeaseOperations,
):
    """One share, got from ``ShareServiceClient.share``.

    Every method but the streams runs under the deadline of its class (``TimeoutPolicy``), inside
    which failures are repeated as ``RetryPolicy`` has it. A cancellation by the caller passes
    through at once; a request that changes something may have taken effect then, or may still do
    so.
    """

    def fenced(self, fence: Fence) -> ShareClient:
        """Return this client with a fence before every change.

        It is awaited before each attempt, the last thing before the request is sent; what it raises
        ends the call, and nothing is sent. The request has its turn by then: what the fence waits
        for must be requests of Priority.URGENT, which have places of their own.
        """
        return ShareClient(self._pipeline, self.name, fence)


class ShareServiceClient:
    """An account's file service; owns the connections."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Wrap a pipeline; use ``open``."""
        self._pipeline = pipeline

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        endpoint: Endpoint,
        credentials: CredentialProvider,
        options: ClientOptions | None = None,
        *,
        transport: HttpTransport | None = None,
    ) -> AsyncIterator[ShareServiceClient]:
        """Open a client, sending nothing yet, and close its connections at the end of the block.

        Args:
            endpoint: where the service is.
            credentials: who asks.
            options: settings.
            transport: what carries the requests instead of the network, such as
                ``asgi_transport(app)``; whoever made it closes it.

        Raises:
            ConfigurationError: the file of authorities or the proxy is unusable.
        """
        settings = options or ClientOptions()
        inner = transport if transport is not None else _network(endpoint, settings)
        try:
            yield cls(
                Pipeline(
                    endpoint, credentials, settings, Transport(inner, settings.max_connections)
                )
            )
        finally:
            if transport is None:
                with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                    await inner.aclose()

    @property
    def endpoint(self) -> Endpoint:
        """Where the service is."""
        return self._pipeline.endpoint

    @property
    def service_version(self) -> str:
        """The service version in use: the configured one, or an older one after a refusal."""
        return self._pipeline.version

    @property
    def statistics(self) -> RequestStatistics:
        """What the requests to the service do now."""
        return self._pipeline.statistics

    def share(self, name: str) -> ShareClient:
        """Return the client of a share; nothing is sent.

        Raises:
            InvalidShareName: the name is malformed.
        """
        return ShareClient(self._pipeline, name)

    async def list_shares(
        self, *, prefix: str | None = None, include: Iterable[str] = ()
    ) -> AsyncIterator[ShareItem]:
        """Yield the shares of the account (List Shares), page by page.

        Args:
            prefix: only names that begin so.
            include: of ``metadata``, ``snapshots``, ``deleted``.

        Raises:
            AuthenticationError: the credential may not list shares; a share's SAS never may.
            ProtocolError: the listing is not one.
        """
        marker: str | None = None
        query = {"comp": "list", "prefix": prefix, "include": ",".join(include) or None}
        while True:
            given = {**query, "marker": marker}
            call = Call(
                name="ListShares",
                method="GET",
                target=Target.SERVICE,
                query={name: value for name, value in given.items() if value is not None},
                body_limit=_PAGE_BYTES,
            )
            items, marker = await self._pipeline.execute(call, _listed_shares)
            for item in items:
                yield item
            if marker is None:
                return


async def _listed_shares(answer: WireAnswer) -> tuple[list[ShareItem], str | None]:
    """Return the shares of a page, and where the next begins."""
    document = parse_document(bytes(answer.body))
    shares = document.find("Shares")
    if shares is None:
        raise ProtocolError("the answer is not a list of shares")
    return [share_item_of(share) for share in shares.all("Share")], document.text_of("NextMarker")


def _network(endpoint: Endpoint, options: ClientOptions) -> HttpTransport:
    return network_transport(
        is_https=endpoint.is_https,
        ca_file=options.ca_file,
        proxy=proxy_for(endpoint.host, is_loopback=is_loopback(endpoint.host)),
        kind=options.transport,
    )
