"""The process behind a mount: it builds the layers, serves, drains and says how it ended.

Modules that a command needs before anything is mounted import neither trio nor pyfuse3 nor the
client.
"""
