"""Definitions of operators: they may be made again, and torch.compile does not look inside."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from dfast.ops.custom_op import DEVICES, custom_op


def test_a_definition_replaces_the_one_before() -> None:
    for factor in (2.0, 3.0):
        op = custom_op("tried_twice", "(Tensor x) -> Tensor")(lambda x, factor=factor: x * factor)
        op.register_fake(torch.empty_like)
        assert float(op(torch.ones(1))) == factor
        torch.library.opcheck(op, (torch.ones(3),))


def test_other_devices_have_the_kernel_of_torch() -> None:
    custom_op("tried_elsewhere", "(Tensor x) -> Tensor")(lambda x: x + 1)
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    for key in (*(device.upper() for device in DEVICES), "CompositeExplicitAutograd"):
        assert has("dfast::tried_elsewhere", key)


def test_a_kernel_is_not_traced() -> None:
    op = custom_op("tried_untraced", "(Tensor x) -> Tensor")(lambda x: x.sin() + 1)
    counter = CompileCounter()

    @partial(torch.compiler.disable, recursive=False)  # what it calls may be traced
    def untraced(x: Tensor) -> Tensor:
        return op(x)

    compiled = torch.compile(lambda x: untraced(x) * 2, backend=counter)
    x = torch.ones(3)
    torch.testing.assert_close(compiled(x), (x.sin() + 1) * 2)
    assert counter.op_count == 1  # the product
