"""The commands, one thin module each.

A command module has ``add_parser(subparsers)`` and ``run(arguments) -> int``. What it needs for its
work it imports in ``run``, so that no command pays for another one's libraries.
"""
