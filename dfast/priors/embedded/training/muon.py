"""Muon: steps along the nearest orthogonal matrix of a momentum, for the weights of layers.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon). A layer's gradient has a few large
singular values; a step that gives all of them the same size uses what the small ones say, too. For
the networks here it needs two thirds of AdamW's steps, see docs/experiments.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> a x + b x^3 + c x^5, which drives singular values in (0, 1] towards 1, to within
about a third, in a few rounds."""
ROUNDS = 5
"""Times that it is applied."""
_NOT_HIDDEN = ("embedding", "conv_in", "conv_out")
"""In names of layers whose inputs or outputs are no features of the network."""


class Muon(torch.optim.Optimizer):
    """Muon over matrices and convolutions; other parameters need another optimizer."""

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        """Bind to the parameters; nothing is computed.

        Args:
            parameters: of two dimensions or four, [out, in, height, width].
            lr: length of a step for singular values of 1.
            momentum: of the gradient's running average, in [0, 1).
            weight_decay: fraction of a weight taken off in a step of length 1.
        """
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step; matrices of one shape are worked on together.

        Args:
            closure: not used.
        """
        for group in self.param_groups:
            self._step([p for p in group["params"] if p.grad is not None], group)

    def _step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Take a step with the parameters of a group; its lr may be a tensor on their device."""
        gradients = [_matrix(p.grad) for p in parameters if p.grad is not None]
        averages = [self._average(p) for p in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for index, matrix in enumerate(ahead):
            alike[matrix.shape].append(index)
        changes: dict[int, Tensor] = {}
        for (rows, columns), indices in alike.items():
            stacked = orthogonalize(torch.stack([ahead[i] for i in indices]))
            stacked *= group["lr"] * max(1.0, rows / columns) ** 0.5
            for index, change in zip(indices, stacked.unbind(), strict=True):
                changes[index] = _unflattened(change, parameters[index])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(parameters, [changes[i] for i in range(len(parameters))])

    def _average(self, parameter: Tensor) -> Tensor:
        """Return the running average of a parameter's gradient, a matrix."""
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(_matrix(parameter))
        average: Tensor = state["momentum"]
        return average


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return matrices of the same singular vectors with singular values near 1, float32.

    Args:
        matrices: [N, R, C].
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = x.baddbmm(square.baddbmm(square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float().contiguous()


def hidden(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of hidden layers that are matrices, and all others.

    Args:
        module: whose parameters these are.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        is_hidden = parameter.ndim in (2, 4) and not any(part in name for part in _NOT_HIDDEN)
        (matrices if is_hidden else others).append(parameter)
    return matrices, others


def _matrix(values: Tensor) -> Tensor:
    """Return [out, everything else], in the order of channels-last memory."""
    return values.permute(0, 2, 3, 1).flatten(1) if values.ndim == 4 else values


def _unflattened(matrix: Tensor, like: Tensor) -> Tensor:
    """Return what `_matrix` made of a tensor in the shape of that tensor."""
    if like.ndim == 2:
        return matrix
    _, channels, height, width = like.shape
    return matrix.unflatten(1, (height, width, channels)).permute(0, 3, 1, 2)
