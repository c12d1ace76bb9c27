"""Adam as a `torch.optim.Optimizer`, in two kernel launches that never wait for the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dfast.ops.adam import (
    NORM,
    SKIPPED,
    STEP,
    STREAK,
    adam_step,
    gradient_norm,
    max_tensors,
    workspace,
)

_FOREIGN = ("weight_decay", "amsgrad", "maximize")


class Adam(Optimizer):
    """Adam (arXiv 1412.6980, algorithm 1), with the update of `dfast.ops.adam.adam_step`.

    It takes what `torch.optim.Adam` takes, without weight decay, AMSGrad and maximisation, and can
    load its state. Two things differ:

    - A step whose gradients have no finite norm (the sum of their squares counts: float32 ends at
      3.4e38) changes nothing but the counters in `status`, and the host is not asked: no step
      synchronises, and a step can be recorded in a CUDA graph. For a learning rate that changes
      between replays pass `lr` as a tensor.
    - All parameters share one step count. Parameters without gradient are left out of a step, but
      the count goes on for them.

    >>> layer = torch.nn.Linear(2, 1)
    >>> optimizer = Adam(layer.parameters(), lr=0.1)
    >>> layer(torch.ones(2)).sum().backward()
    >>> optimizer.step()

    Attributes:
        status: [4] on the device: norm of the last gradients, steps taken, steps skipped, and
            steps skipped in a row up to now.
    """

    status: Tensor

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """Make an optimiser whose moments are zero.

        Args:
            params: parameters, named parameters or groups of them, as for every optimiser of torch;
                contiguous, float32 or float64, all of one dtype on one device.
            lr: learning rate; on CUDA a tensor of one element there may be changed between replays
                of a graph.
            betas: decay of the first and second moment, each in [0, 1).
            eps: added to the root of the second moment.

        Raises:
            ValueError: on a value out of range, or parameters of several dtypes or devices.
        """
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, before the first step.

        Raises:
            ValueError: on a value out of range, several dtypes or devices, or after a step.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"betas must be in [0, 1), got {group['betas']}")
        for name in ("lr", "eps"):
            if not float(group[name]) >= 0:
                raise ValueError(f"{name} must not be negative, got {group[name]}")
        if not hasattr(self, "status"):
            first = group["params"][0]
            if first.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"parameters must be float32 or float64, got {first.dtype}")
            self.status = first.detach().new_zeros(4)
            self._workspace = workspace(first.device)
            self._started = False
        elif self._started:
            raise ValueError(
                "all parameters share one step count: add groups before the first step"
            )
        for p in group["params"]:
            if p.dtype != self.status.dtype or p.device != self.status.device:
                raise ValueError(
                    f"all parameters must be {self.status.dtype} on {self.status.device}, got "
                    f"{p.dtype} on {p.device}"
                )
            self.state[p] = {
                "step": self.status[STEP],
                "exp_avg": torch.zeros_like(p, memory_format=torch.contiguous_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.contiguous_format),
            }

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step along the parameters' gradients, unless their norm is not finite.

        Args:
            closure: computes the gradients again and returns the loss, as for every optimiser.

        Returns:
            what the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        chosen = [
            (p, group) for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        if not chosen:
            return loss
        self._started = True
        self._count([p.grad for p, _ in chosen])
        runs: dict[Any, list[tuple[Tensor, dict[str, Any]]]] = {}
        for p, group in chosen:
            lr = group["lr"]
            key = (tuple(group["betas"]), group["eps"], id(lr) if isinstance(lr, Tensor) else None)
            runs.setdefault(key, []).append((p, group))
        for run in runs.values():
            for at in range(0, len(run), max_tensors()):
                self._move(run[at : at + max_tensors()])
        return loss

    def _count(self, grads: Sequence[Tensor]) -> None:
        """Bring `status` up to date for the gradients of all parameters together."""
        most = max_tensors()
        if len(grads) <= most:
            gradient_norm(grads, self.status, self._workspace)
            return
        norms = []
        for at in range(0, len(grads), most):
            part = torch.zeros_like(self.status)
            gradient_norm(grads[at : at + most], part, self._workspace)
            norms.append(part[NORM])
        norm = torch.linalg.vector_norm(torch.stack(norms))
        finite = norm.isfinite().to(norm.dtype)
        self.status[NORM] = norm
        self.status[STEP] += finite
        self.status[SKIPPED] += 1 - finite
        self.status[STREAK] = (self.status[STREAK] + 1) * (1 - finite)

    def _move(self, run: Sequence[tuple[Tensor, dict[str, Any]]]) -> None:
        """Move parameters that share betas, eps and the rate's tensor, `max_tensors()` at most."""
        group = run[0][1]
        params = [p for p, _ in run]
        if isinstance(group["lr"], Tensor):
            rates, factor = [1.0] * len(run), group["lr"].detach().to(self.status).reshape(1)
        else:
            rates, factor = [float(g["lr"]) for _, g in run], torch.ones_like(self.status[:1])
        adam_step(
            params,
            [p.grad for p in params if p.grad is not None],
            [self.state[p]["exp_avg"] for p in params],
            [self.state[p]["exp_avg_sq"] for p in params],
            [None] * len(params),
            rates,
            factor,
            self.status,
            betas=group["betas"],
            eps=group["eps"],
        )

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` of this class or of `torch.optim.Adam` returned.

        The values are copied into the tensors that are there, so that a recorded step stays valid.

        Raises:
            ValueError: if the state does not fit, or needs what this optimiser does not have.
        """
        for group in state_dict["param_groups"]:
            for name in _FOREIGN:
                if group.get(name):
                    raise ValueError(f"dfast.nn.Adam has no {name}, which the state asks for")
        mine = dict(self.state)
        super().load_state_dict(state_dict)
        steps = {float(loaded["step"]) for loaded in self.state.values() if "step" in loaded}
        if len(steps) > 1:
            raise ValueError(f"all parameters must have taken the same steps, got {sorted(steps)}")
        self.status[STEP] = steps.pop() if steps else 0.0
        self._started = bool(self.status[STEP] > 0)
        for p, own in mine.items():
            loaded = self.state.get(p, {})
            for name in ("exp_avg", "exp_avg_sq"):
                own[name].copy_(loaded[name]) if name in loaded else own[name].zero_()
            self.state[p] = own

    def __getstate__(self) -> dict[str, Any]:
        """Return everything that a copy needs."""
        own = ("status", "_workspace", "_started")
        return super().__getstate__() | {name: getattr(self, name) for name in own}
