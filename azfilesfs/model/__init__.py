"""What a share is: names, paths, times, attributes, versions, extents. Pure: no I/O, no clock.

Client and emulator share this package and nothing else, so that each checks the other.
"""
