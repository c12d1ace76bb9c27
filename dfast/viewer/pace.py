"""How much of the time may go to what nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHARE = 0.04
"""Part of the time that a page may take from a run while its camera is still; with what the
server's thread takes, a step costs at most 5 % more."""


class Pace:
    """Lets work happen so rarely that it takes at most a share of the time.

    Args:
        share: part of the time, in (0, 1].
        clock: returns seconds.

    Example:
        >>> pace = Pace(0.5)
        >>> pace.due()
        True
    """

    def __init__(
        self, share: float = SHARE, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._share, self._clock = share, clock
        self._next = clock()

    def due(self) -> bool:
        """Return whether the work may happen now."""
        return self._clock() >= self._next

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Measure the block, and put the next one off in proportion to it."""
        began = self._clock()
        try:
            yield
        finally:
            now = self._clock()
            self._next = now + (now - began) * (1.0 / self._share - 1.0)
