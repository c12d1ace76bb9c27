"""Numbers as callers write them, and values as messages show them."""

from __future__ import annotations

import math
import operator
from typing import Any

SHOWN = 80
"""Characters of a value that a message shows."""


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


def real(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else.

    Args:
        value: anything; numbers of numpy and tensors of one number are numbers, bools and strings
            are not.
    """
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return number if math.isfinite(number) else None


def amount(number: int, noun: str) -> str:
    """Return a number of things as text, such as "1 thread" and "2 threads".

    Args:
        number: how many.
        noun: one of them, whose plural ends in s.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(value: object) -> str:
    """Return the repr of any value in one short line, for messages.

    Args:
        value: anything, also what has no repr: an int of thousands of digits, a list that is nested
            too deeply, an object whose own method fails.
    """
    try:
        text = repr(value)
    except Exception:  # a repr can raise anything
        return f"a {type(value).__name__} that cannot be shown"
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
