"""Mount an Azure Files share over HTTPS as a local directory.

The version stands here and nowhere else: the build, ``--version`` and the User-Agent read it.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
