"""Every setting of ``azfilesfs mount``."""

from __future__ import annotations

from typing import Final

from azfilesfs.config import convert
from azfilesfs.config.options import Option, option, switch

SERVICE: Final = "the service"
FILES: Final = "how files appear"
SHARING: Final = "sharing with others"
STORAGE: Final = "local storage"
LIMITS: Final = "limits"
LOCKS: Final = "locks"
RUNNING: Final = "running"

CREDENTIAL_OPTIONS: Final = (
    Option(
        name="account",
        group=SERVICE,
        metavar="NAME",
        help="storage account (environment: AZURE_STORAGE_ACCOUNT)",
    ),
    Option(
        name="key-file",
        group=SERVICE,
        metavar="FILE",
        convert=convert.path,
        help="file that holds the account key (environment, the key itself: AZURE_STORAGE_KEY)",
    ),
    Option(
        name="sas-file",
        group=SERVICE,
        metavar="FILE",
        convert=convert.path,
        help="file that holds a shared access signature "
        "(environment, the signature itself: AZURE_STORAGE_SAS_TOKEN)",
    ),
    Option(
        name="connection-string-file",
        group=SERVICE,
        metavar="FILE",
        convert=convert.path,
        help="file that holds a connection string "
        "(environment, the string itself: AZURE_STORAGE_CONNECTION_STRING)",
    ),
    option(
        "credentials",
        SERVICE,
        "file with lines NAME=value of those environment names",
        metavar="FILE",
        convert=convert.path,
    ),
    option(
        "endpoint",
        SERVICE,
        "URL of the file service, if not https://ACCOUNT.file.core.windows.net; "
        "http for loopback addresses only",
        metavar="URL",
    ),
    option(
        "ca-file",
        SERVICE,
        "PEM file with certificate authorities to trust besides the system's",
        metavar="FILE",
        convert=convert.path,
    ),
)

_FILE_OPTIONS: Final = (
    option(
        "uid",
        FILES,
        "owner of every file: a number or a name; yours if not given",
        convert=convert.user,
        metavar="USER",
    ),
    option(
        "gid",
        FILES,
        "group of every file: a number or a name; yours if not given",
        convert=convert.group,
        metavar="GROUP",
    ),
    option(
        "file-mode",
        FILES,
        "permissions of files, octal",
        convert=convert.mode,
        default="0755",
        metavar="MODE",
    ),
    option(
        "dir-mode",
        FILES,
        "permissions of directories, octal",
        convert=convert.mode,
        default="0755",
        metavar="MODE",
    ),
    option(
        "umask",
        FILES,
        "permissions to take away from both, octal",
        convert=convert.mode,
        default="0",
        metavar="MODE",
    ),
    option(
        "permissions",
        FILES,
        "whether owners and modes are checked; unchecked, the mounting user's processes may do "
        "everything whatever they say, and create and remove files with one request fewer of the "
        "kernel; not with --allow-other",
        choices=("checked", "unchecked"),
        default="checked",
    ),
    switch("strict-modes", FILES, "refuse chmod and chown (EPERM) instead of ignoring them"),
    option(
        "symlinks",
        FILES,
        "store symbolic links as Linux cifs mfsymlinks does, or refuse them",
        choices=("mf", "off"),
        default="mf",
    ),
    switch("read-only", FILES, "allow no changes"),
    switch("no-exec", FILES, "let nobody run programs from the mount"),
    switch(
        "allow-other",
        FILES,
        "let other users in; needs user_allow_other in /etc/fuse.conf unless root mounts",
    ),
)

_SHARING_OPTIONS: Final = (
    option(
        "consistency",
        SHARING,
        "what an open sees: all that others have closed, or what was seen within --attr-ttl",
        choices=("close-to-open", "ttl"),
        default="close-to-open",
    ),
    option(
        "attr-ttl",
        SHARING,
        "how long attributes are believed",
        convert=convert.duration,
        default="1",
        metavar="SECONDS",
    ),
    option(
        "dir-ttl",
        SHARING,
        "how long listings are believed",
        convert=convert.duration,
        default="1",
        metavar="SECONDS",
    ),
    option(
        "on-conflict",
        SHARING,
        "when somebody else changed a file meanwhile: report it and keep our bytes for "
        "'azfilesfs recover', save them beside it, or overwrite",
        choices=("fail", "copy", "overwrite"),
        default="fail",
    ),
    option(
        "exclusive-create",
        SHARING,
        "who decides O_EXCL: the service, exclusive between hosts, or this mount, with fewer "
        "requests",
        choices=("service", "mount"),
        default="service",
    ),
    option(
        "close",
        SHARING,
        "when close returns: once the data is at the service, or once it is safe on the local disk",
        choices=("sync", "async"),
        default="sync",
    ),
    switch(
        "single-writer",
        SHARING,
        "let the kernel collect small writes, where nobody else changes what programs here have "
        "open; locks are local then",
    ),
)

_LOCK_OPTIONS: Final = (
    option(
        "locks",
        LOCKS,
        "where flock and fcntl locks hold: between all mounts of the share, by the service; on "
        "this mount alone where the service refuses that (auto); on this mount alone",
        choices=("service", "auto", "local"),
        default="service",
    ),
    option(
        "lock-session-ttl",
        LOCKS,
        "how long after its last sign of life the locks of a mount are taken over by others, in "
        "whole seconds",
        convert=convert.lock_ttl,
        default="60",
        metavar="SECONDS",
    ),
    option(
        "lock-timeout",
        LOCKS,
        "how long a blocking attempt may wait for a lock; without it for ever",
        convert=convert.positive_duration,
        metavar="SECONDS",
    ),
    switch(
        "break-foreign-leases",
        LOCKS,
        "break leases of other programs that are in the way of a lock, rather than wait for them",
    ),
)

_STORAGE_OPTIONS: Final = (
    option(
        "cache-dir",
        STORAGE,
        "where blocks that were read are kept",
        convert=convert.path,
        metavar="DIR",
    ),
    option(
        "cache-size",
        STORAGE,
        "how much of them on disk",
        convert=convert.size,
        default="8G",
        metavar="SIZE",
    ),
    option(
        "cache-memory",
        STORAGE,
        "how much of them in memory",
        convert=convert.size,
        default="128M",
        metavar="SIZE",
    ),
    option("state-dir", STORAGE, "where unsent data is kept", convert=convert.path, metavar="DIR"),
    option(
        "staging-limit",
        STORAGE,
        "how much unsent data; beyond it writing gets ENOSPC",
        convert=convert.positive_size,
        default="8G",
        metavar="SIZE",
    ),
)

_LIMIT_OPTIONS: Final = (
    option(
        "operation-timeout",
        LIMITS,
        "deadline of one operation on the mount",
        convert=convert.positive_duration,
        default="60",
        metavar="SECONDS",
    ),
    option(
        "transfer-timeout",
        LIMITS,
        "deadline of one operation that moves file contents",
        convert=convert.positive_duration,
        default="300",
        metavar="SECONDS",
    ),
    option(
        "max-requests",
        LIMITS,
        "requests to the service at once, those apart that get no answer for a second",
        convert=convert.count,
        default="32",
        metavar="N",
    ),
    option(
        "max-connections",
        LIMITS,
        "connections to the service, with those on which a request gets no answer",
        convert=convert.count,
        default="256",
        metavar="N",
    ),
    option(
        "limit-read",
        LIMITS,
        "bytes of files read from the service per second, 256K at least",
        convert=convert.bandwidth,
        metavar="SIZE",
    ),
    option(
        "limit-write",
        LIMITS,
        "bytes of files written to the service per second, 256K at least",
        convert=convert.bandwidth,
        metavar="SIZE",
    ),
    option(
        "limit-requests",
        LIMITS,
        "requests to the service per second",
        convert=convert.count,
        metavar="N",
    ),
    option(
        "transport",
        LIMITS,
        "who speaks HTTP: this program itself, or the slower httpx",
        choices=("fast", "httpx"),
        default="fast",
    ),
    option(
        "max-names",
        LIMITS,
        "file and directory names kept in memory",
        convert=convert.count,
        default="200000",
        metavar="N",
    ),
)

RUNNING_OPTIONS: Final = (
    switch("foreground", RUNNING, "do not go to the background; log to standard error"),
    option(
        "drain-timeout",
        RUNNING,
        "how long stopping may take: serving files that are open, sending what is unsent",
        convert=convert.positive_duration,
        default="60",
        metavar="SECONDS",
    ),
    option(
        "metrics",
        RUNNING,
        "serve Prometheus metrics there",
        convert=convert.host_port,
        metavar="HOST:PORT",
    ),
    option(
        "log-level",
        RUNNING,
        "least level that is logged",
        choices=("trace", "debug", "info", "warning", "error"),
        default="warning",
    ),
    option("log-format", RUNNING, "how log lines look", choices=("text", "json"), default="text"),
    option(
        "log-file", RUNNING, "append the log to this file", convert=convert.path, metavar="FILE"
    ),
)

MOUNT_OPTIONS: Final = (
    *CREDENTIAL_OPTIONS,
    *_FILE_OPTIONS,
    *_SHARING_OPTIONS,
    *_LOCK_OPTIONS,
    *_STORAGE_OPTIONS,
    *_LIMIT_OPTIONS,
    *RUNNING_OPTIONS,
)

REFUSED_SECRETS: Final = {
    "key": "key-file",
    "account-key": "key-file",
    "sas": "sas-file",
    "sas-token": "sas-file",
    "connection-string": "connection-string-file",
    "password": "key-file",
}
"""Flags that would show a secret to every user of the machine, and what to use instead."""

NOT_YET: Final = ("record", "replay", "oauth", "identity", "auth-mode")
"""Flags of what is planned and not there."""
