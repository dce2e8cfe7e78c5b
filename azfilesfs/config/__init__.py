"""Configuration: frozen objects, built and checked before anything starts.

Each setting comes from a flag, else from the environment, else from the configuration file, else
from its default.
"""
