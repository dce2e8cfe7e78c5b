"""Comparing trees as the filesystem promises them: names, kinds, contents, link targets, times."""

import hashlib
import os
from pathlib import Path

TICK = 100


def picture(root: Path, *, times: bool = True) -> dict[str, tuple[object, ...]]:
    """Return what stands below a directory; times are cut to what the service keeps."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder) / name
            stat = path.lstat()
            what: tuple[object, ...]
            if path.is_symlink():
                what = ("link", os.readlink(path))
            elif path.is_dir():
                what = ("directory",)
            else:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                what = ("file", stat.st_size, digest)
                if times:
                    what += (stat.st_mtime_ns // TICK,)
            found[path.relative_to(root).as_posix()] = what
    return found
