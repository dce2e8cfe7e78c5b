"""The adapter between the kernel and the filesystem: arguments in, results and errnos out, no
semantics.

Only modules below this package import pyfuse3.
"""
