"""An emulator in this process, whose faults a test can plan, and a client of it."""

import pytest
from hypothesis import settings

from azfilesfs.client import (
    ClientOptions,
    RetryPolicy,
    Secret,
    SharedKeyCredential,
    ShareServiceClient,
    StaticCredentials,
    asgi_transport,
)
from azfilesfs.client.endpoint import Endpoint
from azfilesfs.client.transport import TransportKind, network_transport
from azfilesfs.emulator.app import create_app
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY, EmulatorOptions

# A busy machine must not make a property test fail.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

EMULATOR = Endpoint(f"http://127.0.0.1:10004/{DEFAULT_ACCOUNT}", DEFAULT_ACCOUNT)
EMULATOR_CREDENTIAL = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))


@pytest.fixture
def app():
    """Return an emulator with a share."""
    return create_app(EmulatorOptions(shares=("data",)))


@pytest.fixture
async def share(app):
    """Open the share of the emulator, with retries that wait the same each time."""
    options = ClientOptions(retry=RetryPolicy(jitter=0.0))
    async with ShareServiceClient.open(
        EMULATOR,
        StaticCredentials(EMULATOR_CREDENTIAL),
        options,
        transport=asgi_transport(app),
    ) as service:
        yield service.share("data")


@pytest.fixture(params=list(TransportKind), ids=lambda kind: kind.value)
def kind(request):
    """Return each kind of transport over the network in turn."""
    return request.param


@pytest.fixture
def network(kind):
    """Return what makes a transport over the network, to be closed by the test."""

    def make(*, is_https=False, ca_file=None, proxy=None):
        return network_transport(is_https=is_https, ca_file=ca_file, proxy=proxy, kind=kind)

    return make
