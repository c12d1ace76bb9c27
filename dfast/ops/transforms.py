"""How the ops behave under torch.func transforms, forward-mode AD and autocast.

A custom op of torch.library has a backward pass, but neither a forward-mode rule nor support for
torch.func: reverse transforms raise in it and tangents are lost in it silently. `register`
therefore gives each op both: the usual backward formula, and a `torch.autograd.Function` with the
same formula, a forward-mode rule and a vmap rule. `call` takes the function while a transform or a
forward-mode level is active, and the op itself otherwise, at the price of two C calls.

Inputs that have no derivative are listed as constants. Under a transform a derivative that reaches
one is refused, because it would otherwise be zero without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

Tangents = Sequence[Tensor | None]
JvpRule = Callable[[Sequence[Any], Sequence[Any], Tangents], Any]
"""(inputs, outputs, tangents of the inputs) -> tangents of the outputs."""
VmapRule = Callable[[int, Sequence[Any], Sequence[Any]], Any]
"""(batch size, batch dimension of each input or None, inputs) -> (outputs, their batch dimensions),
or None where the rule does not apply."""

_FUNCTIONS: dict[Any, type[torch.autograd.Function]] = {}
_any_autocast = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)


def active() -> bool:
    """Return whether a torch.func transform or a forward-mode level is active."""
    return bool(torch._C._are_functorch_transforms_active()) or forward_mode()


def forward_mode() -> bool:
    """Return whether a forward-mode level is active, of torch.func or of plain autograd."""
    return forward_ad._current_level >= 0


def call(op: Any, *args: Any) -> Any:
    """Run a registered op, by its autograd function where the plain op would lose derivatives."""
    if not active():
        return op(*args)
    if torch.compiler.is_compiling():  # torch.compile cannot trace the function under a transform
        torch._dynamo.graph_break()
    return _FUNCTIONS[op].apply(*args)


def constant(tensor: Tensor) -> Tensor:
    """Return an input without derivative for an op: detached, or as it is under a transform.

    There the op sees the derivative and refuses it.
    """
    return tensor if active() else tensor.detach()


def autocast_enabled(tensor: Tensor) -> bool:
    """Return whether autocast is enabled on the device of a tensor."""
    if not _any_autocast():  # a quarter of the time of the next line
        return False
    return torch.is_autocast_enabled(tensor.device.type)


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return 16-bit tensors as float32 if autocast is enabled on their device, others unchanged.

    Ops without 16-bit arithmetic call this first, so that what a layer computed under autocast can
    be passed on; gradients are cast back by autograd.
    """
    if not autocast_enabled(tensors[0]):
        return tensors
    narrow = (torch.float16, torch.bfloat16)
    return tuple(t.float() if t.dtype in narrow else t for t in tensors)


def widen_optional(tensor: Tensor | None) -> Tensor | None:
    """Return `widen` of a tensor that may be absent."""
    return None if tensor is None else widen(tensor)[0]


def register(
    op: Any,
    *,
    differentiable: Sequence[str] | None = (),
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    jvp: JvpRule | None = None,
    vmap: VmapRule | None = None,
) -> None:
    """Give a custom op its derivatives, for plain autograd and for transforms.

    Args:
        op: what `dfast.ops.custom_op` made.
        differentiable: names of the inputs that have a derivative; the others are constants. None
            names all.
        setup_context: saves what `backward` needs, as for `torch.autograd.Function`.
        backward: gradients of the inputs; None if the op has no backward pass.
        jvp: the forward-mode rule; None if there is none, which is then said when it is needed.
        vmap: a rule for batches; elsewhere, and without one, the op runs once for each element.
    """
    names = [argument.name for argument in op._opoverload._schema.arguments]
    label = f"dfast.ops.{op._name}"
    if backward is not None:
        op.register_autograd(backward, setup_context=setup_context)

    def refuse(which: Sequence[Any]) -> None:
        """Raise if a derivative reaches a constant."""
        if differentiable is None:
            return
        for name, carries in zip(names, which, strict=True):
            if carries is not None and carries is not False and name not in differentiable:
                raise RuntimeError(
                    f"{label} has no derivative in {name}: pass {name}.detach() if it is a constant"
                )

    def forward(*args: Any) -> Any:
        return op(*args)

    def setup(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        refuse(ctx.needs_input_grad)
        if setup_context is not None:
            setup_context(ctx, inputs, output)
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.set_materialize_grads(False)
        values = (*inputs, *outputs)
        ctx.values = [None if isinstance(value, Tensor) else value for value in values]
        ctx.places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
        ctx.save_for_forward(*[values[i] for i in ctx.places])

    def run_backward(ctx: Any, *grads: Any) -> Any:
        if backward is None:
            raise RuntimeError(f"{label} cannot be differentiated in reverse mode")
        return backward(ctx, *grads)

    def run_jvp(ctx: Any, *tangents: Any) -> Any:
        refuse(tangents)
        if jvp is None:
            raise RuntimeError(f"{label} has no forward-mode derivative")
        values = list(ctx.values)
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            values[place] = tensor
        return jvp(values[: len(names)], values[len(names) :], tangents)

    def run_vmap(info: Any, in_dims: Sequence[Any], *args: Any) -> Any:
        result = None if vmap is None else vmap(info.batch_size, in_dims, args)
        return _one_by_one(op, info.batch_size, in_dims, args) if result is None else result

    members = {
        "forward": forward,
        "setup_context": setup,
        "backward": run_backward,
        "jvp": run_jvp,
        "vmap": run_vmap,
    }
    _FUNCTIONS[op] = type(
        f"{op._name}_function",
        (torch.autograd.Function,),
        {name: staticmethod(member) for name, member in members.items()},
    )


def register_backward(
    op: Any, backward: Callable[..., Any] | None = None, vmap: VmapRule | None = None
) -> None:
    """Register an op that computes a gradient and has no derivative of its own.

    Derivatives may reach its inputs, because torch.func records every backward pass; they are
    refused when they are asked for, by `backward` if it is given.
    """
    register(op, differentiable=None, backward=backward, vmap=vmap)


def _one_by_one(op: Any, batch: int, in_dims: Sequence[Any], args: Sequence[Any]) -> Any:
    """Run an op once for each element of a batch and stack the results."""

    def element(arg: Any, dim: Any, index: int) -> Any:
        return arg.select(dim, index) if isinstance(arg, Tensor) and isinstance(dim, int) else arg

    rows = [
        call(op, *[element(a, d, i) for a, d in zip(args, in_dims, strict=True)])
        for i in range(batch)
    ]
    if isinstance(rows[0], tuple):
        return tuple(torch.stack(column) for column in zip(*rows, strict=True)), (0,) * len(rows[0])
    return torch.stack(rows), 0
