"""Locks: who holds what on this mount, and the protocol that makes it hold between mounts.

Pure code, without I/O, clock or task: whoever wires it in sends the requests that it names, tells
it the answers and the time, and sleeps where it says so. docs/internals/locks.md describes it.
"""
