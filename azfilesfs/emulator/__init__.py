"""The file service, locally: an ASGI application that follows reference and recorded traffic.

It shares ``azfilesfs.model`` with the client and nothing else, so that each checks the other.
"""
