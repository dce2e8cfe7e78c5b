"""Signatures, shared access signatures and versions."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from azfilesfs.emulator import auth_sas, auth_shared_key
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from azfilesfs.emulator.request import Request, parse
from azfilesfs.model.times import format_rfc1123
from tests import features
from tests.unit.emulator import signing
from tests.unit.emulator.harness import Caller, make_caller, make_directory, put_file, put_range

VECTORS = features.RECORDINGS.parent / "vectors.json"
IN_AN_HOUR = "2023-11-14T23:13:20Z"  # the clock of the tests stands at 22:13:20
AN_HOUR_AGO = "2023-11-14T21:13:20Z"


def load_vectors(kind: str) -> list[Any]:
    """Return the vectors of a kind as parameters, one skipped where they are absent."""
    if not VECTORS.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"{VECTORS.name} is absent"))]
    found = [item for item in json.loads(VECTORS.read_text()) if item["kind"] == kind]
    return [pytest.param(item, id=item["name"]) for item in found]


def request_of(method: str, url: str, headers: Mapping[str, str]) -> Request:
    """Return the parsed request of a vector."""
    parts = urlsplit(url)
    fields = {"host": parts.netloc, **headers}
    scope = {
        "method": method,
        "scheme": parts.scheme,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        "client": ("127.0.0.1", 1),
    }
    return parse(scope, ["myaccount"])


@pytest.mark.parametrize("vector", load_vectors("SharedKey"))
def test_shared_key_vectors(vector: dict[str, Any]) -> None:
    """String to sign and signature equal the known answers."""
    request = request_of(vector["method"], vector["url"], vector["headers"])

    text = auth_shared_key.string_to_sign(request)

    assert text == vector["string_to_sign"]
    key = base64.b64decode(vector["key"])
    assert f"SharedKey myaccount:{auth_shared_key.sign(key, text)}" == vector["authorization"]


@pytest.mark.parametrize("vector", load_vectors("SAS"))
def test_sas_vectors(vector: dict[str, Any]) -> None:
    """Account, share and file SAS give the string that was signed."""
    query = dict(parse_qsl(vector["sas"], keep_blank_values=True))
    path = vector["args"].get("file_path", "")
    token = auth_sas.Token(
        query=query,
        account="myaccount",
        share="myshare",
        path="/".join(json.loads(path.replace("'", '"'))) if path else "",
        scheme="https",
        peer="127.0.0.1",
        now=0,
    )
    if "ss" in query:
        assert auth_sas.account_text(token) == vector["string_to_sign"]
    else:
        text = auth_sas.service_text(token, is_file=query["sr"] == "f")
        assert text == vector["string_to_sign"]


def test_header_names_sort_as_the_service_sorts_them() -> None:
    """Dashes count last, underscores come before digits, digits before letters."""
    names = [
        "x-ms-a-b",
        "x-ms-ab",
        "x-ms-meta-a-c",
        "x-ms-meta-a1",
        "x-ms-meta-a_b",
        "x-ms-meta-ab",
    ]

    assert sorted(names, key=auth_shared_key.collation_key) == [
        "x-ms-ab",
        "x-ms-a-b",
        "x-ms-meta-a_b",
        "x-ms-meta-a1",
        "x-ms-meta-ab",
        "x-ms-meta-a-c",
    ]


async def test_shared_key_over_paths_and_queries(call: Caller) -> None:
    """Encoded paths, blank values, repeated names and account-in-path URLs all verify."""
    for target in (
        "/share/a%20b%25%2B+c?restype=directory",
        "/share?restype=directory&comp=list&include=&prefix=A%26b%3D",
        f"/{DEFAULT_ACCOUNT}?comp=list",
        "/?comp=list",
    ):
        path_style = target.startswith(f"/{DEFAULT_ACCOUNT}")
        headers = {"host": "127.0.0.1:10004"} if path_style else {}
        method = "PUT" if target.endswith("directory") else "GET"
        reply = await call.send(method, target, b"", headers)
        assert reply.status in {200, 201}, (target, reply)


async def test_shared_key_lite(call: Caller) -> None:
    """The short form signs less and is accepted as well."""
    date = format_rfc1123(call.clock())
    lines = ["GET", "", "", "", f"x-ms-date:{date}", f"x-ms-version:{call.version}"]
    lines.append(f"/{DEFAULT_ACCOUNT}/share?comp=metadata")
    signature = signing.hmac_b64(DEFAULT_KEY, "\n".join(lines))
    reply = await call.send(
        "GET",
        "/share?restype=share&comp=metadata",
        b"",
        {"authorization": f"SharedKeyLite {DEFAULT_ACCOUNT}:{signature}"},
    )
    assert reply.status == 200


@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]:9", "localhost:9"])
async def test_path_style_names_the_account_in_the_path(call: Caller, host: str) -> None:
    """Addresses and localhost take the account from the path, in operations and listings."""
    target = f"/{DEFAULT_ACCOUNT}/share/d?restype=directory"
    assert (await call.send("PUT", target, b"", {"host": host})).status == 201
    listed = await call.send(
        "GET", f"/{DEFAULT_ACCOUNT}/share?restype=directory&comp=list", b"", {"host": host}
    )
    assert listed.xml.get("ServiceEndpoint") == f"https://{host}/{DEFAULT_ACCOUNT}/"


@pytest.mark.parametrize("suffix", ["-ipv6", "-dualstack"])
async def test_host_suffixes_name_the_same_account(call: Caller, suffix: str) -> None:
    """The hosts for IPv6 and for both protocols reach the same account."""
    host = f"{DEFAULT_ACCOUNT}{suffix}.file.core.windows.net"
    assert (await call.send("GET", "/share?restype=share", b"", {"host": host})).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": "SharedKey devstoreaccount1:AAAA"}, 403, "AuthenticationFailed"),
        ({"authorization": "SharedKey other:AAAA"}, 403, "AuthenticationFailed"),
        ({"authorization": "Bearer token"}, 401, "InvalidAuthenticationInfo"),
        ({"authorization": "Basic token"}, 400, "InvalidAuthenticationInfo"),
        ({"x-ms-date": "yesterday"}, 403, "AuthenticationFailed"),
        ({"x-ms-date": ""}, 403, "AuthenticationFailed"),
        ({"x-ms-date": format_rfc1123(1_700_000_000_000_000_000 - 901 * 10**9)}, 403, None),
        ({"x-ms-version": "2031-01-01"}, 400, "InvalidHeaderValue"),
        ({"x-ms-version": ""}, 400, "MissingRequiredHeader"),
    ],
)
async def test_refused_credentials_and_versions(
    call: Caller, headers: dict[str, str], status: int, code: str | None
) -> None:
    """Wrong keys, schemes, dates and versions are refused with their codes."""
    reply = await call.send("GET", "/share?restype=share", b"", headers)
    assert reply.status == status
    assert code is None or reply.code == code


async def test_no_credential_at_all(call: Caller) -> None:
    """Without a credential the answer is 401 with a challenge."""
    reply = await call("GET", "f", sas="x=y")
    assert (reply.status, reply.code) == (401, "NoAuthenticationInformation")
    assert reply.headers["www-authenticate"].startswith("Bearer ")


async def test_a_refused_signature_shows_no_secret(call: Caller) -> None:
    """The string to sign in the detail has the SAS inside a header blanked."""
    reply = await call(
        "PUT",
        "f",
        authorization=f"SharedKey {DEFAULT_ACCOUNT}:x",
        ms_copy_source="https://h/f?sv=1&sig=secret&se=2",
    )
    detail = reply.xml.findtext("AuthenticationErrorDetail") or ""
    assert "string to sign" in detail
    assert "secret" not in detail


async def test_old_services_refuse_new_versions() -> None:
    """``newest_version`` simulates an older service, so that clients step down."""
    call = make_caller(newest_version="2024-11-04")
    reply = await call("GET", "/share?restype=share")
    assert (reply.status, reply.code) == (400, "InvalidHeaderValue")
    assert reply.xml.findtext("HeaderName") == "x-ms-version"
    call.version = "2024-11-04"
    assert (await call("GET", "/share?restype=share")).status == 200


async def test_conditions_are_ignored_unless_strict() -> None:
    """The service knows no If-Match; strict mode refuses it."""
    for strict, status in ((False, 201), (True, 400)):
        call = make_caller(strict_conditions=strict)
        reply = await call("PUT", "d?restype=directory", if_none_match="*")
        assert reply.status == status


async def test_user_delegation_keys_need_oauth(call: Caller) -> None:
    """Asking for such a key, or using a SAS signed with one, is refused."""
    reply = await call("POST", "/?restype=service&comp=userdelegationkey", b"<KeyInfo/>")
    assert (reply.status, reply.code) == (403, "AuthenticationFailed")
    reply = await call("GET", "f", sas="sv=2026-10-06&sr=s&skoid=1&sig=x")
    assert (reply.status, reply.code) == (403, "AuthenticationFailed")


async def test_user_delegation_sas_with_a_known_key() -> None:
    """With a key from the options such a SAS is checked, the key's own time included."""
    call = make_caller(delegation_key="a2V5")
    await put_file(call, "f", b"data")
    fields = {"sp": "r", "se": IN_AN_HOUR, "skoid": "o", "sktid": "t", "skt": AN_HOUR_AGO}
    for ske, status in ((IN_AN_HOUR, 200), (AN_HOUR_AGO, 403)):
        values = {**fields, "ske": ske, "sks": "f", "skv": "2026-10-06", "sv": "2026-10-06"}
        resource = f"/file/{DEFAULT_ACCOUNT}/share"
        lines = [values["sp"], "", values["se"], resource]
        lines += [values[name] for name in ("skoid", "sktid", "skt", "ske", "sks", "skv")]
        lines += ["", "", "", "", values["sv"], "", "", "", "", ""]
        signature = signing.hmac_b64("a2V5", "\n".join(lines))
        token = urlencode({**values, "sr": "s", "sig": signature})
        assert (await call("GET", "f", sas=token)).status == status


def share_sas(**fields: str) -> str:
    """Return a share SAS that is valid now."""
    values = {"sp": "rcwdl", "se": IN_AN_HOUR, **fields}
    return signing.service_sas(DEFAULT_ACCOUNT, DEFAULT_KEY, "share", **values)


async def test_share_sas_permissions(call: Caller) -> None:
    """Each operation needs its letter; share operations are out of reach."""
    await put_file(call, "f", b"data")
    cases = (
        ("GET", "f", "r"),
        ("HEAD", "f", "r"),
        ("GET", "?restype=directory&comp=list", "l"),
        ("PUT", "new?restype=directory", "c"),
        ("PUT", "f?comp=metadata", "w"),
        ("DELETE", "new?restype=directory", "d"),
    )
    for method, target, letter in cases:
        others = "".join(sorted(set("rcwdl") - {letter} - ({"w"} if letter == "c" else set())))
        refused = await call(method, target, sas=share_sas(sp=others))
        assert refused.code == "AuthorizationPermissionMismatch", (method, target)
        allowed = await call(method, target, sas=share_sas(sp=letter))
        assert allowed.status < 300, (method, target, allowed)
    reply = await call("GET", "/share?restype=share", sas=share_sas())
    assert (reply.status, reply.code) == (403, "AuthorizationFailure")


async def test_create_permission_does_not_overwrite(call: Caller) -> None:
    """With c and without w a new file may be made and an existing one not be replaced."""
    headers = {"ms_type": "file", "ms_content_length": "0"}
    assert (await call("PUT", "f", sas=share_sas(sp="c"), **headers)).status == 201
    again = await call("PUT", "f", sas=share_sas(sp="c"), **headers)
    assert again.code == "AuthorizationPermissionMismatch"
    assert (await call("PUT", "f", sas=share_sas(sp="w"), **headers)).status == 201


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"se": AN_HOUR_AGO}, "AuthenticationFailed"),
        ({"st": IN_AN_HOUR}, "AuthenticationFailed"),
        ({"st": AN_HOUR_AGO}, None),
        ({"se": "2023-11-15"}, None),
        ({"se": "2023-11-14T23:13Z"}, None),
        ({"se": "soon"}, "AuthenticationFailed"),
        ({"sp": ""}, "AuthenticationFailed"),
        ({"spr": "https"}, None),
        ({"spr": "http"}, "AuthorizationProtocolMismatch"),
        ({"sip": "127.0.0.1"}, None),
        ({"sip": "127.0.0.0-127.0.0.9"}, None),
        ({"sip": "10.0.0.1"}, "AuthorizationSourceIPMismatch"),
        ({"sip": "nonsense"}, "AuthorizationSourceIPMismatch"),
        ({"sv": "2018-11-09"}, None),
        ({"si": "unknown"}, "AuthenticationFailed"),
    ],
)
async def test_limits_of_a_sas(call: Caller, fields: dict[str, str], code: str | None) -> None:
    """Time, protocol, address and policy limit a SAS."""
    await put_file(call, "f", b"data")
    reply = await call("GET", "f", sas=share_sas(**fields))
    assert reply.code == code


async def test_a_sas_gives_the_version_where_no_header_does(call: Caller) -> None:
    """Requests of browsers carry the SAS only."""
    await put_file(call, "f", b"data")
    reply = await call("GET", "f", sas=share_sas(sv="2021-12-02"), ms_version="")
    assert (reply.status, reply.headers["x-ms-version"]) == (200, "2021-12-02")


async def test_a_tampered_sas_is_refused(call: Caller) -> None:
    """Any change of a signed field, or another resource, breaks the signature."""
    await put_file(call, "f", b"data")
    token = share_sas(sp="r").replace("sp=r", "sp=rw")
    assert (await call("GET", "f", sas=token)).code == "AuthenticationFailed"
    other = signing.service_sas(DEFAULT_ACCOUNT, DEFAULT_KEY, "other", sp="r", se=IN_AN_HOUR)
    assert (await call("GET", "f", sas=other)).code == "AuthenticationFailed"
    assert (await call("GET", "f", sas="sv=2026-10-06&sig=x")).code == "AuthenticationFailed"
    assert (await call("GET", "f", sas="sv=2026-10-06&sr=x&sig=x")).code == "AuthenticationFailed"


async def test_a_file_sas_is_for_its_file(call: Caller) -> None:
    """It reads and replaces its file, overrides headers, and moves nothing else over it."""
    await put_file(call, "f", b"data")
    await put_file(call, "g", b"other")
    token = signing.service_sas(
        DEFAULT_ACCOUNT, DEFAULT_KEY, "share", "f", sp="rw", se=IN_AN_HOUR, rsct="text/x"
    )
    shown = await call("GET", "f", sas=token)
    assert (shown.status, shown.headers["content-type"]) == (200, "text/x")
    assert (await call("GET", "g", sas=token)).code == "AuthenticationFailed"
    source = f"https://{DEFAULT_ACCOUNT}.file.core.windows.net/share/g"
    moved = await call(
        "PUT",
        "f?comp=rename",
        sas=token,
        ms_file_rename_source=source,
        ms_file_rename_replace_if_exists="true",
    )
    assert (moved.status, moved.code) == (403, "AuthorizationFailure")


async def test_account_sas(call: Caller) -> None:
    """Resource types, services and permissions limit an account SAS; it may create shares."""

    def token(**fields: str) -> str:
        values = {"sp": "rwdlc", "se": IN_AN_HOUR, **fields}
        return signing.account_sas(DEFAULT_ACCOUNT, DEFAULT_KEY, **values)

    assert (await call("PUT", "/made?restype=share", sas=token())).status == 201
    assert (await call("GET", "/?comp=list", sas=token(srt="s"))).status == 200
    assert (await call("GET", "?restype=directory&comp=list", sas=token(srt="c"))).status == 200
    for target, fields, code in (
        ("/?comp=list", {"srt": "co"}, "AuthorizationResourceTypeMismatch"),
        ("/share?restype=share", {"srt": "so"}, "AuthorizationResourceTypeMismatch"),
        ("/share/f", {"srt": "sc"}, "AuthorizationResourceTypeMismatch"),
        ("/share/f", {"sp": "w"}, "AuthorizationPermissionMismatch"),
        ("/share/f", {"ss": "b"}, "AuthorizationServiceMismatch"),
        ("/share/f", {"se": AN_HOUR_AGO}, "AuthenticationFailed"),
        ("/share/f", {"sv": "2019-02-02"}, "ResourceNotFound"),
    ):
        reply = await call("GET", target, sas=token(**fields))
        assert reply.code == code, (target, fields)


async def test_policies_complete_a_sas(call: Caller) -> None:
    """A policy's fields count; what it fixes must not be repeated; without it the SAS is dead."""
    policies = (
        b"<SignedIdentifiers><SignedIdentifier><Id>p</Id><AccessPolicy>"
        b"<Expiry>2023-11-15T00:00:00Z</Expiry><Permission>r</Permission>"
        b"</AccessPolicy></SignedIdentifier></SignedIdentifiers>"
    )
    await put_file(call, "f", b"data")
    assert (await call("PUT", "/share?restype=share&comp=acl", policies)).status == 200
    token = signing.service_sas(DEFAULT_ACCOUNT, DEFAULT_KEY, "share", si="p")
    assert (await call("GET", "f", sas=token)).status == 200
    assert (await call("DELETE", "f", sas=token)).code == "AuthorizationPermissionMismatch"
    twice = signing.service_sas(DEFAULT_ACCOUNT, DEFAULT_KEY, "share", si="p", sp="rw")
    assert (await call("GET", "f", sas=twice)).code == "AuthenticationFailed"
    await call("PUT", "/share?restype=share&comp=acl")
    assert (await call("GET", "f", sas=token)).code == "AuthenticationFailed"


async def test_unknown_accounts(call: Caller) -> None:
    """A key or SAS for an account that is not there is refused like a wrong one."""
    call.account = "nobody"
    assert (await call("GET", "f")).code == "AuthenticationFailed"
    assert (await call("GET", "f", sas=share_sas())).code == "AuthenticationFailed"


async def test_structured_bodies_are_refused(call: Caller) -> None:
    """Their frame would end up in the file."""
    await make_directory(call, "d")
    await put_file(call, "f", b"data")
    reply = await put_range(call, "f", 0, b"x", ms_structured_body="XSM/1.0; properties=crc64")
    assert (reply.status, reply.code) == (400, "UnsupportedHeader")
