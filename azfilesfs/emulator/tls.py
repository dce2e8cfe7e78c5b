"""The emulator's own certificate authority, and the certificate that it serves https with."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES: Final = ("localhost", "*.file.core.windows.net", "*.file.localhost")
ADDRESSES: Final = ("127.0.0.1", "::1")
_LIFETIME: Final = datetime.timedelta(days=30)
_BACKDATED: Final = datetime.timedelta(hours=1)
_RENEWED_BEFORE_END: Final = datetime.timedelta(days=1)
_KEPT: Final = "tls.pem"
"""In a data directory: the server's key, its certificate and the authority's, in this order."""

_PEM_BLOCK: Final = re.compile(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority's certificate, and a server's certificate and key, all in PEM."""

    authority: bytes
    server: bytes
    server_key: bytes = field(repr=False)

    def server_context(self) -> ssl.SSLContext:
        """Return a context that serves with them.

        The key passes through a private temporary directory, since ``ssl`` loads keys from files
        only.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        with tempfile.TemporaryDirectory(prefix="azfilesfs-emulator-") as directory:
            chain = Path(directory) / "chain.pem"
            descriptor = os.open(chain, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(self.server_key + self.server)
            context.load_cert_chain(chain)
        return context


def make_certificates(extra_hosts: Iterable[str] = ()) -> Certificates:
    """Make an authority and a server certificate of it; the authority's key is forgotten at once.

    Args:
        extra_hosts: names or addresses beyond those of this machine's loopback and of the service.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("azfilesfs emulator CA")
    authority = (
        _builder(authority_name, authority_name, authority_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_key_id(authority_key), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("azfilesfs emulator"), authority_name, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_hosts(extra_hosts)), critical=False)
        .add_extension(_key_id(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return Certificates(
        authority.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def kept_certificates(directory: Path, extra_hosts: Iterable[str] = ()) -> Certificates:
    """Return the certificates that a data directory keeps, so that clients trust a restart.

    They are made anew where there are none, where they are about to end, and where they are not
    good for the hosts.

    Raises:
        OSError: the directory cannot be read or written.
    """
    file, hosts = directory / _KEPT, list(extra_hosts)
    kept = _read(file) if file.exists() else None
    if kept is None or not _is_good_for(kept, hosts):
        kept = make_certificates(hosts)
        write_private(file, kept.server_key + kept.server + kept.authority)
    return kept


def _read(file: Path) -> Certificates | None:
    blocks = _PEM_BLOCK.findall(file.read_bytes())
    if len(blocks) != 3:
        return None
    return Certificates(server_key=blocks[0], server=blocks[1], authority=blocks[2])


def _is_good_for(certificates: Certificates, hosts: list[str]) -> bool:
    try:
        server = x509.load_pem_x509_certificate(certificates.server)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except ValueError:
        return False
    end = datetime.datetime.now(datetime.UTC) + _RENEWED_BEFORE_END
    return server.not_valid_after_utc > end and set(_hosts(hosts)) <= set(names)


def write_private(path: Path, data: bytes) -> None:
    """Write a file for the owner only, in one step: readers see the old content or the new.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_id(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _hosts(extra: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    for host in extra:
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        if name not in names:
            names.append(name)
    return names
