"""What a credential says of itself that it may do."""

import pytest

from azfilesfs.client import SasCredential, Secret, SharedKeyCredential, may_write


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("sp=r&sig=x", False),
        ("?sp=rl&sr=s&sig=x", False),
        ("sp=rc&sig=x", True),
        ("sig=x&sp=rwdl", True),
        ("si=policy&sr=s&sig=x", True),
    ],
)
def test_sas_tells_whether_it_may_write(token, expected):
    """A SAS without the letters for creating and writing may not; a stored policy is not known."""
    assert may_write(SasCredential(Secret(token))) is expected


def test_key_may_write():
    """An account key may do everything."""
    assert may_write(SharedKeyCredential("account", Secret("a2V5")))
