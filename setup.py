"""The one compiled part: azfilesfs/fuse/optable.c. Everything else stands in pyproject.toml."""

import subprocess

from setuptools import Extension, setup

OLDEST_LIBFUSE = "3.8"  # the first with lseek


def libfuse(flags: str) -> list[str]:
    """Ask pkg-config for compiler or linker flags; ends the build where libfuse is not there."""
    command = ["pkg-config", flags, f"fuse3 >= {OLDEST_LIBFUSE}"]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        raise SystemExit(
            f"azfilesfs needs the headers of libfuse {OLDEST_LIBFUSE} or later and pkg-config "
            f"(Debian: libfuse3-dev, pkg-config): {reason}"
        ) from error
    return found.stdout.split()


setup(
    ext_modules=[
        # Not a Python module but a plain shared object, which fuse/optable.py finds by this name.
        Extension(
            "azfilesfs.fuse._optable",
            ["azfilesfs/fuse/optable.c"],
            extra_compile_args=[
                "-std=gnu11",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                *libfuse("--cflags"),
            ],
            extra_link_args=libfuse("--libs"),
        )
    ]
)
