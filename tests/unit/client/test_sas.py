"""Shared access signatures: known answers, least privilege, refusals."""

import ast
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest

from azfilesfs.client import narrow_sas, sas
from azfilesfs.client.credentials import SharedKeyCredential
from azfilesfs.client.secret import Secret
from azfilesfs.errors import (
    ConfigurationError,
    InvalidAccountName,
    InvalidShareName,
    MissingCredentials,
)
from azfilesfs.model.paths import SharePath
from tests.unit.client.support import ACCOUNT, CREDENTIAL, KEY
from tests.unit.client.vectors import VECTORS, vectors_missing

EXPIRY = datetime(2030, 1, 1, tzinfo=UTC)
LIMITS = sas.SasLimits(expiry=EXPIRY)
FILE = SharePath.parse("dir/sub/file.txt")


def fields(credential) -> dict[str, str]:
    """Return the fields of a signature."""
    return dict(parse_qsl(credential.query(), strict_parsing=True))


def limits_of(arguments) -> sas.SasLimits:
    """Return the limits that a vector names."""
    moments = {
        name: datetime.fromisoformat(arguments[name])
        for name in ("start", "expiry")
        if name in arguments
    }
    protocol = arguments.get("protocol")
    return sas.SasLimits(
        **moments,
        ip=arguments.get("ip"),
        protocols=sas.Protocols(protocol) if protocol else None,
        version="2026-10-06",
        policy_id=arguments.get("policy_id"),
        headers=sas.ResponseHeaders(content_type=arguments.get("content_type")),
    )


def sas_of(vector):
    """Make the signature that a vector asks for."""
    arguments = vector["args"]
    credential = SharedKeyCredential(vector["account"], Secret(vector["key"]))
    limits = limits_of(arguments)
    permissions = arguments.get("permission", "")
    if "resource_types" in arguments:
        return sas.account_sas(credential, permissions, arguments["resource_types"], limits)
    path = arguments.get("file_path")
    scope = sas.SasScope(
        arguments["share_name"], SharePath(tuple(ast.literal_eval(path))) if path else None
    )
    if key := arguments.get("user_delegation_key"):
        delegated = sas.UserDelegationKey(
            object_id=key["signed_oid"],
            tenant_id=key["signed_tid"],
            start=key["signed_start"],
            expiry=key["signed_expiry"],
            version=key["signed_version"],
            value=Secret(key["value"]),
        )
        return sas.user_delegation_sas(vector["account"], delegated, scope, permissions, limits)
    return sas.service_sas(credential, scope, permissions, limits)


@pytest.mark.skipif(vectors_missing() is not None, reason=vectors_missing() or "")
@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v["kind"] == "SAS"], ids=lambda v: v["name"]
)
def test_vectors(vector):
    """Every field and the signature are those that the official client computes, in its order."""
    assert vector["sas"] == sas_of(vector).query()


def test_own_known_answers():
    """An account's and a file's signature with fixed fields."""
    account = sas.account_sas(
        CREDENTIAL, "rl", "co", sas.SasLimits(expiry=EXPIRY, version="2025-05-05")
    )
    file = sas.service_sas(
        CREDENTIAL,
        sas.SasScope("myshare", FILE),
        "r",
        sas.SasLimits(expiry=EXPIRY, version="2025-05-05"),
    )

    assert fields(account)["sig"] == "8Nl2FejCbXFPMHKqEkxD8DN2qOe4BL5NlurXXWfyVsw="
    assert fields(file)["sig"] == "FlgVSc6fZvc06aPll1qA4PsoNcrcZyJbkTv+kgFQhdQ="


def test_no_encryption_scope_before_2020_12_06():
    """Older versions sign an account's signature without the line for the encryption scope."""
    old = sas.account_sas(CREDENTIAL, "r", "o", sas.SasLimits(expiry=EXPIRY, version="2020-10-02"))
    new = sas.account_sas(CREDENTIAL, "r", "o", sas.SasLimits(expiry=EXPIRY, version="2020-12-06"))

    assert fields(old)["sig"] != fields(new)["sig"]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (narrow_sas.read_only_share_sas(CREDENTIAL, "myshare", LIMITS), {"sp": "rl", "sr": "s"}),
        (
            narrow_sas.read_write_share_sas(CREDENTIAL, "myshare", LIMITS),
            {"sp": "rcwdl", "sr": "s"},
        ),
        (narrow_sas.drop_box_share_sas(CREDENTIAL, "myshare", LIMITS), {"sp": "c", "sr": "s"}),
        (
            narrow_sas.read_only_file_sas(CREDENTIAL, "myshare", FILE, LIMITS),
            {"sp": "r", "sr": "f"},
        ),
        (narrow_sas.write_file_sas(CREDENTIAL, "myshare", FILE, LIMITS), {"sp": "cw", "sr": "f"}),
        (narrow_sas.list_shares_sas(CREDENTIAL, LIMITS), {"sp": "l", "ss": "f", "srt": "s"}),
    ],
    ids=["read", "read-write", "drop-box", "read-file", "write-file", "list-shares"],
)
def test_helpers_grant_no_more_than_they_say(made, expected):
    """Each helper's signature has just its permissions, https alone and an end."""
    found = fields(made)

    assert expected == {name: found[name] for name in expected}
    assert found["spr"] == "https"
    assert found["se"] == "2030-01-01T00:00:00Z"


def test_path_scope():
    """A file's signature covers its path: another path gives another signature."""
    one = narrow_sas.read_only_file_sas(CREDENTIAL, "myshare", FILE, LIMITS)
    other = narrow_sas.read_only_file_sas(
        CREDENTIAL, "myshare", SharePath.parse("dir/sub/file.tx"), LIMITS
    )

    assert fields(one)["sig"] != fields(other)["sig"]


def test_all_fields():
    """Every limit appears under its name, times in UTC."""
    limits = sas.SasLimits(
        start=datetime.fromisoformat("2024-01-01T02:00:00+02:00"),
        expiry=EXPIRY,
        ip="10.0.0.1-10.0.0.9",
        protocols=sas.Protocols.HTTPS_AND_HTTP,
        headers=sas.ResponseHeaders(
            cache_control="no-cache",
            content_disposition="attachment; filename=a",
            content_encoding="gzip",
            content_language="en",
            content_type="text/plain",
        ),
    )

    found = fields(sas.service_sas(CREDENTIAL, sas.SasScope("myshare"), "lr", limits))

    del found["sig"]
    assert found == {
        "st": "2024-01-01T00:00:00Z",
        "se": "2030-01-01T00:00:00Z",
        "sp": "rl",
        "sip": "10.0.0.1-10.0.0.9",
        "spr": "https,http",
        "sv": "2026-10-06",
        "sr": "s",
        "rscc": "no-cache",
        "rscd": "attachment; filename=a",
        "rsce": "gzip",
        "rscl": "en",
        "rsct": "text/plain",
    }


def test_a_policy_takes_the_place_of_permissions_and_expiry():
    """With a stored policy neither needs to be given."""
    limits = sas.SasLimits(policy_id="mine", protocols=None)

    found = fields(sas.service_sas(CREDENTIAL, sas.SasScope("myshare"), "", limits))

    assert found["si"] == "mine"
    assert found.keys() == {"sv", "si", "sr", "sig"}


DELEGATED = sas.UserDelegationKey(
    object_id="o", tenant_id="t", start="s", expiry="e", version="2026-02-06", value=Secret(KEY)
)
SCOPE = sas.SasScope("myshare")


@pytest.mark.parametrize(
    "make",
    [
        lambda: sas.SasLimits(),
        lambda: sas.SasLimits(expiry=datetime(2030, 1, 1)),
        lambda: sas.SasLimits(start=EXPIRY, expiry=EXPIRY),
        lambda: sas.service_sas(CREDENTIAL, SCOPE, "x", LIMITS),
        lambda: sas.service_sas(CREDENTIAL, sas.SasScope("myshare", FILE), "l", LIMITS),
        lambda: sas.service_sas(CREDENTIAL, SCOPE, "", LIMITS),
        lambda: sas.SasScope("myshare", SharePath.ROOT),
        lambda: sas.account_sas(CREDENTIAL, "r", "", LIMITS),
        lambda: sas.account_sas(CREDENTIAL, "r", "b", LIMITS),
        lambda: sas.account_sas(CREDENTIAL, "r", "s", sas.SasLimits(policy_id="p")),
        lambda: sas.user_delegation_sas(
            ACCOUNT, DELEGATED, SCOPE, "r", sas.SasLimits(policy_id="p")
        ),
    ],
    ids=range(11),
)
def test_refusals(make):
    """A signature that would grant nothing, or not what was meant, is not made."""
    with pytest.raises(ConfigurationError):
        make()


def test_malformed_names_and_keys():
    """Bad names of accounts and shares and keys that are not base64 have their own errors."""
    with pytest.raises(InvalidShareName):
        sas.SasScope("No")
    with pytest.raises(InvalidAccountName):
        sas.user_delegation_sas("NO", DELEGATED, SCOPE, "r", LIMITS)
    broken = sas.UserDelegationKey(
        object_id="o", tenant_id="t", start="s", expiry="e", version="v", value=Secret("hunter2!")
    )
    with pytest.raises(MissingCredentials) as caught:
        sas.user_delegation_sas(ACCOUNT, broken, SCOPE, "r", LIMITS)
    assert "hunter2" not in str(caught.value)


def test_a_delegated_user():
    """A signature for one user alone names and signs that user."""
    anyone = fields(sas.user_delegation_sas(ACCOUNT, DELEGATED, SCOPE, "r", LIMITS))
    one = fields(
        sas.user_delegation_sas(ACCOUNT, DELEGATED, SCOPE, "r", LIMITS, delegated_user_id="u")
    )

    assert one["sduoid"] == "u"
    assert "sduoid" not in anyone
    assert one["sig"] != anyone["sig"]
