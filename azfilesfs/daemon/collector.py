"""How often Python looks for cycles of objects that nobody reaches.

It looks whenever some hundred more objects were made than freed. With many requests in flight that
is all the time, each look finds objects in use, and the more there are the more it costs: with 64
requests at once 7 % of the CPU of small ones. What this program makes is freed without such a
look but for failures and their tracebacks, so it may be done less often.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_MADE: Final = 5000
"""Objects made and not freed until the next look: more than 256 requests in flight have, and few
enough that tracebacks do not hold many buffers for long."""


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look less often while the block runs, and never at what is there before it."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
