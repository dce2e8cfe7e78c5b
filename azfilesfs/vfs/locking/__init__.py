"""Locks at work: the protocol of ``vfs/locks`` driven with real requests, clocks and tasks.

``LockManager`` is what the filesystem uses; docs/internals/locks.md describes the parts.
"""
