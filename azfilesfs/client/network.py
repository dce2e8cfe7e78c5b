"""How connections are made: whom to trust, and through which proxy."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.request import getproxies, proxy_bypass

from azfilesfs.errors import ConfigurationError


def tls_context(
    ca_file: str | None, without_system: Callable[[], ssl.SSLContext]
) -> ssl.SSLContext:
    """Return a context that checks certificates and host names and speaks TLS 1.2 or newer.

    Args:
        ca_file: PEM file of authorities to trust beside those of the system.
        without_system: makes the context where the system has no authorities of its own.

    Raises:
        ConfigurationError: the file cannot be read as certificates.
    """
    paths = ssl.get_default_verify_paths()
    has_system_authorities = paths.cafile is not None or paths.capath is not None
    context = ssl.create_default_context() if has_system_authorities else without_system()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"the authorities in {ca_file} cannot be read: {error.strerror or error}"
            ) from error
    return context


def proxy_for(host: str, *, is_loopback: bool) -> str | None:
    """Return the proxy that the environment names for an https host, None for none."""
    if is_loopback or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get("https") or proxies.get("all") or None
