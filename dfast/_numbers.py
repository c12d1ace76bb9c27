"""Numbers as callers write them."""

from __future__ import annotations

import operator
from typing import Any


def whole(value: Any) -> int | None:
    """`value` as an int if it is a whole number, numpy's included; None for all else and bools."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
