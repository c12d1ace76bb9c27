"""How the ops are defined: as custom operators of torch whose kernels run without torch._dynamo.

What `torch.library.custom_op` makes of a function hides it from torch.compile by importing
torch._dynamo on the first call. That takes a second or more, and a program that compiles nothing
does not need it. The function is therefore registered once more for the devices that dfast has
kernels for, in front of that one and hidden only once torch._dynamo is there. All else is as
`torch.library.custom_op` has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

DEVICES = ("cpu", "cuda")


def custom_op(name: str, schema: str) -> Callable[[Callable[..., Any]], Any]:
    """Make an operator of the decorated function, as `torch.library.custom_op` does.

    The function writes to none of its arguments and returns new tensors. Nothing checks that when
    it is called: test every operator with `torch.library.opcheck`.

    Args:
        name: of the operator in ``torch.ops.dfast``.
        schema: its arguments and results, such as "(Tensor x) -> Tensor".
    """

    def define(function: Callable[..., Any]) -> Any:
        qualified = f"dfast::{name}"
        op = torch.library.custom_op(qualified, function, mutates_args=(), schema=schema)
        # In the op's own library, so that importing its module again replaces both kernels.
        torch.library.impl(qualified, DEVICES, _hidden(function), lib=op._lib)
        return op

    return define


def _hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that torch.compile does not trace into, without importing torch._dynamo."""
    disabled: Callable[..., Any] | None = None

    def kernel(*args: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            if "torch._dynamo" not in sys.modules:  # nothing can be traced
                return function(*args)
            disabled = torch.compiler.disable(function)
        return disabled(*args)

    return kernel
