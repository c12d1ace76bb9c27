"""The run's Adam: named parameters, schedules, state in place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfast.ops.adam import SKIPPED, STEP
from dfast.training.adam import NamedAdam

pytestmark = pytest.mark.usefixtures("needs_native")

SETTINGS = {"betas": (0.9, 0.99), "eps": 1e-15}


def make(device: torch.device, seed: int = 0) -> tuple[dict[str, Tensor], NamedAdam]:
    g = torch.Generator().manual_seed(seed)
    shapes = {"table": (501, 2), "mlp": (77,), "behind": (3, 4)}
    params = {k: torch.randn(s, generator=g).to(device) for k, s in shapes.items()}
    groups = [({"table": params["table"]}, 1e-2), ({k: params[k] for k in ("mlp", "behind")}, 1e-3)]
    return params, NamedAdam(groups, **SETTINGS)


def gradients(params: dict[str, Tensor], seed: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=g).to(p.device) for p in params.values()]


def test_groups_and_schedule_follow_torch(device: torch.device) -> None:
    params, adam = make(device)
    theirs = {k: p.clone() for k, p in params.items()}
    rates = {"table": 1e-2, "mlp": 1e-3, "behind": 1e-3}
    torch_adam = torch.optim.Adam([{"params": [p]} for p in theirs.values()], **SETTINGS)
    half = params["table"].half()
    for step, factor in enumerate((1.0, 0.5, 0.1)):
        grads = gradients(params, step)
        for group, rate in zip(torch_adam.param_groups, rates.values(), strict=True):
            group["lr"] = rate * factor
        for p, g in zip(theirs.values(), grads, strict=True):
            p.grad = g
        torch_adam.step()
        adam.step(grads, torch.tensor([factor], device=device), {"table": half})
    for name, p in params.items():
        torch.testing.assert_close(p, theirs[name], rtol=2e-6, atol=2e-6)
    assert torch.equal(half, params["table"].half())
    assert list(adam.parameters) == ["table", "mlp", "behind"]


def test_state_goes_on_in_place(device: torch.device) -> None:
    """Saved and loaded, an optimiser goes on as if nothing had happened, in the memory it had."""
    one = torch.ones(1, device=device)
    params, adam = make(device)
    adam.step(gradients(params, 0), one)
    saved = {k: v.clone() for k, v in adam.state_dict().items()}
    others, other = make(device, seed=9)
    for name, p in params.items():
        others[name].copy_(p)
    places = [v.data_ptr() for v in other.state_dict().values()]
    other.load_state_dict(saved)
    assert places == [v.data_ptr() for v in other.state_dict().values()]
    adam.step(gradients(params, 1), one)
    other.step(gradients(params, 1), one)
    assert all(torch.equal(params[name], others[name]) for name in params)

    adam.status[SKIPPED] = 3
    adam.reset()
    assert float(adam.status[STEP]) == 0 and float(adam.status[SKIPPED]) == 3
    assert not any(v.any() for v in adam.state_dict().values())


def test_state_of_other_parameters_is_refused() -> None:
    _, adam = make(torch.device("cpu"))
    state = adam.state_dict()
    with pytest.raises(RuntimeError, match=r"exp_avg.mlp must have shape \[77\], got \[78\]"):
        adam.load_state_dict(state | {"exp_avg.mlp": torch.zeros(78)})
    with pytest.raises(KeyError, match="step"):
        adam.load_state_dict({k: v for k, v in state.items() if k != "step"})
