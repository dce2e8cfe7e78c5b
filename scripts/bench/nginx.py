"""The nginx before the emulator: its configuration and its process."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azfilesfs.emulator.offload import (
    BODY_HEADER,
    CONTENT_LOCATION,
    KEPT_HEADERS,
    LENGTH_HEADER,
    PEER_HEADER,
    RANGE_HEADER,
    SCHEME_HEADER,
    OffloadDirectory,
)

HEADERS_MODULE: Final = "ngx_http_headers_more_filter_module.so"
MODULE_DIRECTORIES: Final = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules")
STOP_SECONDS: Final = 10
_PASSED_BY_NGINX: Final = {"accept-ranges", "cache-control"}
_LARGE_BODY: Final = r'"~^[0-9]{6,}$"'


class NginxMissing(Exception):
    """nginx, or its module for headers, is not installed."""


@dataclass(frozen=True, slots=True)
class NginxPlan:
    """What nginx shall serve, and where.

    Attributes:
        folder: its own files: configuration, pid, log.
        offload: the directory that it shares with the emulator.
        data: the emulator's data directory, for the contents and the certificate.
        port: https to the emulator.
        plain_port: https with the same certificate and no emulator: the bytes of ``data/content``
            below ``/content/``, uploads below ``/upload/``.
    """

    folder: Path
    offload: OffloadDirectory
    data: Path
    port: int
    plain_port: int


def find_nginx() -> tuple[str, Path]:
    """Return the program and the module that sets headers.

    Raises:
        NginxMissing: one of them is not there.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    modules = [Path(folder) / HEADERS_MODULE for folder in MODULE_DIRECTORIES]
    module = next((path for path in modules if path.exists()), None)
    if program is None or module is None:
        raise NginxMissing(
            "please install Debian's nginx-light and libnginx-mod-http-headers-more-filter"
        )
    return program, module


def configuration(plan: NginxPlan, module: Path, user: str | None) -> str:
    """Return the text of nginx.conf; ``user`` is who the workers run as, for root only."""
    certificate = plan.data / "tls.pem"
    repeated = "\n".join(
        f'            more_set_headers "{name}: $upstream_http_{name.replace("-", "_")}";'
        for name in KEPT_HEADERS
        if name not in _PASSED_BY_NGINX
    )
    told = "\n".join(
        f"        proxy_set_header {name} {value};"
        for name, value in (
            ("Host", "$http_host"),
            ("Connection", '""'),
            (LENGTH_HEADER, "$content_length"),
            (PEER_HEADER, "$remote_addr"),
            (SCHEME_HEADER, "$scheme"),
        )
    )
    return f"""\
load_module {module};
{f"user {user};" if user else ""}
worker_processes 2;
pid {plan.folder}/nginx.pid;
error_log {plan.folder}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    types {{ }}
    default_type application/octet-stream;
    server_tokens off;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {plan.offload.bodies};
    client_body_buffer_size 256k;
    large_client_header_buffers 8 64k;
    underscores_in_headers on;
    ignore_invalid_headers off;
    merge_slashes off;
    output_buffers 2 256k;
    tcp_nodelay on;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:4m;
    ssl_buffer_size 16k;
    proxy_temp_path {plan.folder}/proxy;
    fastcgi_temp_path {plan.folder}/fastcgi;
    uwsgi_temp_path {plan.folder}/uwsgi;
    scgi_temp_path {plan.folder}/scgi;
    map $content_length $is_large {{ default 0; {_LARGE_BODY} 1; }}
    upstream emulator {{ server unix:{plan.offload.socket}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{plan.port} ssl backlog=1024;
        proxy_http_version 1.1;
        proxy_next_upstream off;
        proxy_read_timeout 300s;
        proxy_send_timeout 300s;
        proxy_buffer_size 64k;
        proxy_buffers 16 256k;
        proxy_busy_buffers_size 512k;
        proxy_max_temp_file_size 0;
        proxy_pass_header Server;
        proxy_pass_header Date;
        error_page 418 = @large;
        location / {{
            if ($is_large) {{ return 418; }}
            proxy_set_header {BODY_HEADER} "";
{told}
            proxy_pass http://emulator;
        }}
        location @large {{
            client_body_in_file_only on;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header {BODY_HEADER} $request_body_file;
{told}
            proxy_pass http://emulator;
        }}
        location {CONTENT_LOCATION} {{
            internal;
            alias {plan.data}/content/;
            etag off;
            if_modified_since off;
            max_ranges 1;
            more_set_input_headers "Range: $upstream_http_{RANGE_HEADER.replace("-", "_")}";
            more_clear_input_headers If-Range If-Match If-None-Match If-Unmodified-Since;
            more_set_headers "Accept-Ranges: bytes";
{repeated}
        }}
    }}
    server {{
        listen 127.0.0.1:{plan.plain_port} ssl backlog=1024;
        location /content/ {{ alias {plan.data}/content/; }}
        location /upload/ {{
            alias {plan.folder}/upload/;
            dav_methods PUT;
            client_body_temp_path {plan.folder}/upload/tmp;
        }}
    }}
}}
"""


class Nginx:
    """A running nginx, until ``stop``."""

    def __init__(self, plan: NginxPlan) -> None:
        """Start it.

        Raises:
            NginxMissing: it is not installed.
            RuntimeError: it does not accept its configuration.
        """
        program, module = find_nginx()
        plan.folder.mkdir(parents=True, exist_ok=True)
        (plan.folder / "upload" / "tmp").mkdir(parents=True, exist_ok=True)
        file = plan.folder / "nginx.conf"
        user = getpass.getuser() if os.geteuid() == 0 else None
        file.write_text(configuration(plan, module, user))
        command = [
            program,
            "-c",
            str(file),
            "-p",
            str(plan.folder),
            "-e",
            f"{plan.folder}/early.log",
        ]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            raise RuntimeError(f"nginx refuses its configuration: {checked.stderr.strip()}")
        self.process = subprocess.Popen(
            [*command, "-g", "daemon off;"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def pid(self) -> int:
        """The master; the workers are its children."""
        return self.process.pid

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
