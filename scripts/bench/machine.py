"""What a run was made on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from azfilesfs import __version__
from scripts.bench.nginx import NginxMissing, find_nginx


def describe() -> dict[str, str]:
    """Return the machine and the versions of everybody who takes part."""
    return {
        "processor": _processor(),
        "processors": str(os.cpu_count()),
        "memory": _memory(),
        "kernel": platform.release(),
        "system": _system(),
        "Python": platform.python_version(),
        "azfilesfs": __version__,
        "commit": _first_line(
            "git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"
        ),
        "rclone": _first_line(str(Path(sys.executable).parent / "rclone"), "version"),
        "curl": _first_line("curl", "--version"),
        "nginx": _nginx(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    line = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()[0]
    return f"{int(line.split()[1]) / (1 << 20):.0f} GiB"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _nginx() -> str:
    try:
        program, _ = find_nginx()
    except NginxMissing:
        return "not installed"
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    return done.stderr.strip().removeprefix("nginx version: ")


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "not installed"
    return (done.stdout.strip().splitlines() or ["unknown"])[0]
