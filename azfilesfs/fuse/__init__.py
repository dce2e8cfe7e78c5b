"""The adapter between the kernel and the filesystem: arguments in, results and errnos out, no
semantics.

Only modules below this package import pyfuse3.

The operation table must be in place before pyfuse3 is imported, so it is loaded here, ahead of all
of them. Where that fails, everything but what needs it works, and ``optable.load`` says why.
"""

from contextlib import suppress

from azfilesfs.fuse import optable

with suppress(optable.Unavailable):
    optable.load()
