"""POSIX semantics over a share.

Knows no FUSE types: the filesystem is a plain object that tests drive without a mount.
"""
