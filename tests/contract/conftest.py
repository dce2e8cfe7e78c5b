"""A share to run the contract on: in the emulator, and on a real account when one is named."""

import os
import uuid

import pytest

from azfilesfs.client import (
    Secret,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
    asgi_transport,
    parse_connection_string,
)
from azfilesfs.client.endpoint import Endpoint
from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions
from tests.features import LIVE_VARIABLE

EMULATOR = Endpoint(f"http://127.0.0.1:10004/{DEFAULT_ACCOUNT}", DEFAULT_ACCOUNT)


@pytest.fixture(params=["emulator", pytest.param("live", marks=pytest.mark.live)])
async def service(request):
    """Open a client of the service."""
    if request.param == "live":
        endpoint, credential = parse_connection_string(os.environ[LIVE_VARIABLE])
        transport = None
    else:
        endpoint = EMULATOR
        credential = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))
        transport = asgi_transport(create_app(EmulatorOptions()))
    provider = StaticCredentials(credential)
    async with ShareServiceClient.open(endpoint, provider, transport=transport) as client:
        yield client


@pytest.fixture
async def share(service):
    """Make a share of its own for a test, and delete it afterwards."""
    client = service.share(f"azfilesfs-{uuid.uuid4().hex[:20]}")
    await client.create_share(1)
    yield client
    await client.delete_share(delete_snapshots=True)
