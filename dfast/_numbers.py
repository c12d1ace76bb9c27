"""Numbers as callers write them."""

from __future__ import annotations

import operator
from typing import Any


def whole(value: Any) -> int | None:
    """Return a whole number as an int, and None for anything else.

    Args:
        value: anything; numpy's integers are whole numbers, bools are not.
    """
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
