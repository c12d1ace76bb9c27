"""Tensors in nested dataclasses: list them, map over them, replace them; copy those of a state.

A tree is a tensor, a dataclass whose fields are trees, or any other value. Other values (numbers,
booleans, None) are leaves that every function here leaves as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TypeVar

import torch
from torch import Tensor

Tree = TypeVar("Tree")


def map_tensors(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Return a copy of a tree in which every tensor is `function(tensor)`.

    Args:
        function: called once for each tensor, in the order of the dataclasses' fields.
        tree: a tensor or a dataclass instance, nested to any depth; it is not changed.
    """
    if isinstance(tree, Tensor):
        return function(tree)  # type: ignore[return-value]
    if is_dataclass(tree) and not isinstance(tree, type):
        return type(tree)(
            **{f.name: map_tensors(function, getattr(tree, f.name)) for f in fields(tree)}
        )
    return tree


def tensors_of(tree: object) -> list[Tensor]:
    """Return the tensors of a tree, in the order in which `map_tensors` visits them."""
    found: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(collect, tree)
    return found


def replace_tensors(tree: Tree, tensors: Sequence[Tensor]) -> Tree:
    """Return a copy of a tree that holds other tensors.

    Args:
        tree: tells where the tensors belong, and gives all other values.
        tensors: one for each of `tensors_of(tree)`, in the same order.

    Raises:
        ValueError: when there are more or fewer tensors than places.
    """
    remaining = iter(tensors)
    wanted = len(tensors_of(tree))
    if len(tensors) != wanted:
        raise ValueError(f"expected {wanted} tensors, got {len(tensors)}")
    return map_tensors(lambda _: next(remaining), tree)


@torch.no_grad()
def copy_into(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy tensors by name into those that are there, which stay in their memory.

    Args:
        own: the tensors to fill.
        state: on any device; other names are ignored.

    Raises:
        KeyError: when a tensor is missing.
        RuntimeError: when a tensor has the wrong shape.
    """
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            raise RuntimeError(
                f"{name} must have shape {list(tensor.shape)}, got {list(state[name].shape)}"
            )
        tensor.copy_(state[name])
