"""Every setting of ``azfilesfs emulator``, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from azfilesfs.config import convert
from azfilesfs.config.convert import HostPort
from azfilesfs.config.mount import LogConfig, load_file, log_config
from azfilesfs.config.options import Option, Sources
from azfilesfs.errors import ConfigurationError

_GROUP: Final = "options"


def _option(name: str, text: str, **settings: Any) -> Option:  # noqa: ANN401  # fields of Option, each of its own type
    variable = "AZFILESFS_EMULATOR_" + name.replace("-", "_").upper()
    return Option(**{"name": name, "group": _GROUP, "help": text, "variable": variable} | settings)


EMULATOR_OPTIONS: Final = (
    _option(
        "listen",
        "address to listen on; port 0 takes a free one",
        metavar="HOST:PORT",
        convert=convert.host_port,
        default="127.0.0.1:0",
    ),
    _option(
        "account",
        "name of the storage account, the one that all storage emulators have if not given",
        metavar="NAME",
    ),
    _option(
        "key",
        "its key, base64; the well-known one if not given",
        metavar="KEY",
        convert=convert.base64_text,
    ),
    _option(
        "data",
        "keep everything in this directory; in memory if not given",
        metavar="DIR",
        convert=convert.path,
    ),
    _option(
        "http",
        "serve plain http",
        convert=convert.boolean,
        default="false",
        switch=True,
    ),
    _option(
        "env-file",
        "once it serves, write there how to reach it, as NAME=value lines",
        metavar="FILE",
        convert=convert.path,
    ),
    _option(
        "offload",
        "besides, serve an nginx through a socket in this directory, and let it move the contents",
        metavar="DIR",
        convert=convert.path,
    ),
    _option(
        "log-level",
        "least level that is logged",
        choices=("trace", "debug", "info", "warning", "error"),
        default="warning",
    ),
    _option("log-format", "how log lines look", choices=("text", "json"), default="text"),
    _option(
        "log-file",
        "append the log to this file; standard error if not given",
        metavar="FILE",
        convert=convert.path,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorConfig:
    """Everything about one emulator; None leaves the choice to it."""

    listen: HostPort
    shares: tuple[str, ...]
    account: str | None
    key: str | None = field(repr=False)
    data: Path | None
    http: bool
    env_file: Path | None
    offload: Path | None
    log: LogConfig


def build_emulator(
    shares: Sequence[str], flags: Mapping[str, str], environment: Mapping[str, str]
) -> EmulatorConfig:
    """Build the configuration of an emulator from flags, environment and file.

    Raises:
        ConfigurationError: a value is wrong.
    """
    file, name = load_file(flags, environment, "emulator", None)
    values = Sources(flags, environment, file, name).values(EMULATOR_OPTIONS)
    if values["offload"] is not None and values["data"] is None:
        raise ConfigurationError("--offload needs --data: nginx sends files, not memory")
    return EmulatorConfig(
        listen=values["listen"],
        shares=tuple(shares),
        account=values["account"],
        key=values["key"],
        data=values["data"],
        http=values["http"],
        env_file=values["env_file"],
        offload=values["offload"],
        log=log_config(values),
    )
