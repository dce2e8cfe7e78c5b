"""Secrets show themselves only when asked, and the net under them holds."""

import copy
import pickle

import pytest

from azfilesfs.client import Secret, redact
from azfilesfs.client.credentials import SasCredential, SharedKeyCredential
from tests.unit.client.support import ACCOUNT, KEY


def test_a_secret_never_prints():
    """No form of a secret as text contains it."""
    secret = Secret("hunter2")

    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


def test_credentials_do_not_print_their_secrets():
    """The repr of a credential shows no key and no signature."""
    shown = repr([SharedKeyCredential(ACCOUNT, Secret(KEY)), SasCredential(Secret("sv=1&sig=abc"))])

    assert KEY not in shown
    assert "sig=abc" not in shown
    assert ACCOUNT in shown


def test_equality_and_truth():
    """Secrets of one text are equal and hash alike; an empty one is false."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("a")
    assert not Secret("")


def test_a_secret_is_not_written_out():
    """Pickling and copying, which would write it somewhere, are refused."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret("a"))
    with pytest.raises(TypeError):
        copy.copy(Secret("a"))


@pytest.mark.parametrize(
    "text",
    [
        "https://a.file.core.windows.net/s/f?sv=2026-10-06&sig=hunter2%2B3%3D&se=2030",
        "x-ms-copy-source: https://a/s/f?sv=1&sig=hunter2",
        "x-ms-file-rename-source: https%3A%2F%2Fa%2Fs%3Fsv%3D1%26sig%3Dhunter2",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter2==;EndpointSuffix=x",
        "BlobEndpoint=https://b;SharedAccessSignature=sv=1&sig=hunter2",
        "Authorization: SharedKey myaccount:hunter2/abc=",
        "Authorization: Bearer hunter2.x.y",
        "username=a\npassword=hunter2",
    ],
)
def test_redaction(text: str):
    """Signatures, keys, passwords and authorizations are replaced wherever a text has them."""
    assert "hunter2" not in redact(text)
    assert "REDACTED" in redact(text)


def test_redaction_leaves_the_rest():
    """What is not secret stays readable."""
    assert redact("https://a/s/f?sig=x&se=2030") == "https://a/s/f?sig=REDACTED&se=2030"
    assert redact("design=good, path sigma=1") == "design=good, path sigma=1"
