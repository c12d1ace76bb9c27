"""Adam as an optimiser of torch: groups, schedules, state, closures, many tensors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfast.nn import Adam
from dfast.ops.adam import NORM, SKIPPED, STEP

pytestmark = pytest.mark.usefixtures("needs_native")


def make(layers: int = 2, device: torch.device | str = "cpu") -> nn.Sequential:
    torch.manual_seed(0)
    made = [layer for _ in range(layers) for layer in (nn.Linear(4, 4), nn.Tanh())]
    return nn.Sequential(*made, nn.Linear(4, 1)).double().to(device)


def loss(model: nn.Module, step: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(16, 4, dtype=torch.float64, generator=generator)
    x = x.to(next(model.parameters()).device)
    return (model(x)[:, 0] - x.sin().sum(-1)).square().mean()


def train(model: nn.Module, optimizer: Any, steps: int, scheduler: Any = None) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        loss(model, step).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def same(a: nn.Module, b: nn.Module) -> None:
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layers", [2, 12], ids=["few", "more than one launch"])
def test_equals_torch_with_a_schedule_and_groups(layers: int, device: torch.device) -> None:
    models = [make(layers, device) for _ in range(2)]
    assert len(list(models[0].parameters())) > 16 or layers == 2
    for model, kind in zip(models, (Adam, torch.optim.Adam), strict=True):
        named = dict(model.named_parameters())
        last = [p for name, p in named.items() if name.startswith(f"{2 * layers}.")]
        first = [p for name, p in named.items() if not name.startswith(f"{2 * layers}.")]
        groups = [{"params": first}, {"params": last, "lr": 3e-3, "betas": (0.8, 0.95)}]
        optimizer = kind(groups, lr=1e-2, eps=1e-9)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        train(model, optimizer, 30, scheduler)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.9**30)
    same(*models)


def test_five_lines_fit_something() -> None:
    model = make()
    optimizer = Adam(model.parameters(), lr=1e-2)
    before = loss(model).item()
    train(model, optimizer, 200)
    assert loss(model).item() < 0.2 * before
    assert isinstance(optimizer, torch.optim.Optimizer) and float(optimizer.status[STEP]) == 200


@pytest.mark.parametrize("foreign", [False, True], ids=["own state", "state of torch's Adam"])
def test_state_continues_a_run_in_the_same_memory(foreign: bool) -> None:
    model = make()
    optimizer = (torch.optim.Adam if foreign else Adam)(model.parameters(), lr=1e-2)
    train(model, optimizer, 5)
    other = copy.deepcopy(model)
    resumed = Adam(other.parameters(), lr=1.0)
    addresses = [s["exp_avg"].data_ptr() for s in resumed.state.values()]
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert addresses == [s["exp_avg"].data_ptr() for s in resumed.state.values()]
    assert resumed.param_groups[0]["lr"] == 1e-2 and float(resumed.status[STEP]) == 5
    train(model, optimizer, 5)
    train(other, resumed, 5)
    same(model, other)


def test_state_dict_holds_tensors_that_safetensors_and_torch_take(tmp_path: Any) -> None:
    model = make()
    optimizer = Adam(model.parameters())
    train(model, optimizer, 2)
    torch.save(optimizer.state_dict(), tmp_path / "adam.pt")
    state = torch.load(tmp_path / "adam.pt", weights_only=True)
    assert set(state["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert float(state["state"][0]["step"]) == 2
    Adam(make().parameters()).load_state_dict(state)


def test_deepcopy() -> None:
    model = make()
    optimizer = Adam(model.parameters(), lr=1e-2)
    train(model, optimizer, 3)
    both = copy.deepcopy({"model": model, "optimizer": optimizer})
    train(model, optimizer, 3)
    train(both["model"], both["optimizer"], 3)
    same(model, both["model"])
    assert both["optimizer"].status.data_ptr() != optimizer.status.data_ptr()


def test_a_step_with_gradients_that_are_not_finite_changes_nothing() -> None:
    for layers in (2, 12):
        model = make(layers)
        optimizer = Adam(model.parameters(), lr=1e-2)
        train(model, optimizer, 2)
        before = [p.clone() for p in model.parameters()]
        loss(model).backward()
        list(model.parameters())[-1].grad.fill_(torch.nan)
        optimizer.step()
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
        assert optimizer.status[[STEP, SKIPPED]].tolist() == [2, 1]
        train(model, optimizer, 1)
        assert torch.isfinite(optimizer.status[NORM]) and float(optimizer.status[STEP]) == 3


def test_closure_and_parameters_without_gradient() -> None:
    model = make()
    optimizer = Adam(model.named_parameters(), lr=1e-2)
    assert optimizer.step() is None and float(optimizer.status[STEP]) == 0

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        model[0].weight.grad = None
        return value

    before, first = model[0].weight.clone(), loss(model).item()
    assert optimizer.step(closure).item() == pytest.approx(first)
    assert torch.equal(model[0].weight, before) and loss(model).item() < first


def test_rate_in_a_tensor() -> None:
    models = [make(), make()]
    rate = torch.tensor(1e-2, dtype=torch.float64)
    train(models[0], Adam(models[0].parameters(), lr=rate), 5)
    train(models[1], Adam(models[1].parameters(), lr=1e-2), 5)
    same(*models)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: Adam([p], betas=(1.0, 0.9)), "betas"),
        (lambda p: Adam([p], lr=-1.0), "lr"),
        (lambda p: Adam([p], eps=-1.0), "eps"),
        (lambda p: Adam([p.detach().half()]), "float32 or float64"),
        (lambda p: Adam([p, p.detach().double()]), "all parameters"),
    ],
)
def test_bad_arguments(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(nn.Parameter(torch.zeros(3)))


def test_what_is_refused_later() -> None:
    model = make()
    optimizer = Adam(model.parameters())
    decayed = torch.optim.Adam(make().parameters(), weight_decay=0.1)
    with pytest.raises(ValueError, match="weight_decay"):
        optimizer.load_state_dict(decayed.state_dict())
    train(model, optimizer, 1)
    with pytest.raises(ValueError, match="before the first step"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2, dtype=torch.float64))]})


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_a_recorded_step_follows_the_rate() -> None:
    models = [make(device="cuda"), make(device="cuda")]
    rate = torch.tensor(1e-2, dtype=torch.float64, device="cuda")
    optimizer = Adam(models[0].parameters(), lr=rate)
    plain = Adam(models[1].parameters(), lr=1e-2)
    for model in models:
        loss(model).backward()
    optimizer.step(), plain.step()  # a warm-up before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for rate_now in (1e-2, 3e-3):
        rate.fill_(rate_now)
        plain.param_groups[0]["lr"] = rate_now
        graph.replay()
        plain.step()
    same(*models)
