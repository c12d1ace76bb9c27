"""Adam: torch.optim.Adam, the reference twin, skipped steps, threads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dfast import reference
from dfast.ops.adam import NORM, SKIPPED, STEP, STREAK, adam_step, gradient_norm, workspace

pytestmark = pytest.mark.usefixtures("needs_native")

SHAPES = ((40000, 2), (7,), (33, 5), (1,), (0,), (5001,))
RATES = (1e-2, 3e-3, 1e-3, 0.5, 1.0, 1e-2)
SETTINGS = {"betas": (0.9, 0.99), "eps": 1e-15}


class State:
    """The arguments of one optimiser, drawn from a seed."""

    def __init__(self, dtype: torch.dtype, device: torch.device, half: bool = False) -> None:
        g = torch.Generator().manual_seed(0)
        self.params = [torch.randn(s, generator=g, dtype=dtype).to(device) for s in SHAPES]
        self.exp_avg = [torch.zeros_like(p) for p in self.params]
        self.exp_avg_sq = [torch.zeros_like(p) for p in self.params]
        self.half_copies = [
            p.half() if half and i % 2 == 0 else None for i, p in enumerate(self.params)
        ]
        self.status = torch.zeros(4, dtype=dtype, device=device)
        self.space = workspace(device)
        self.generator = g

    def gradients(self) -> list[Tensor]:
        return [
            torch.randn(p.shape, generator=self.generator, dtype=p.dtype).to(p.device)
            for p in self.params
        ]

    def step(
        self, grads: list[Tensor], factor: float = 1.0, ops: Any = (gradient_norm, adam_step)
    ) -> None:
        factors = torch.full_like(self.status[:1], factor)
        ops[0](grads, self.status, self.space)
        ops[1](
            self.params, grads, self.exp_avg, self.exp_avg_sq, self.half_copies, RATES, factors,
            self.status, **SETTINGS,
        )  # fmt: skip

    def tensors(self) -> list[Tensor]:
        halves = [half for half in self.half_copies if half is not None]
        return [self.status, *self.params, *self.exp_avg, *self.exp_avg_sq, *halves]


def test_follows_torch(device: torch.device, dtype: torch.dtype) -> None:
    state = State(dtype, device)
    others = [p.clone().requires_grad_() for p in state.params]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(others, RATES, strict=True)]
    adam = torch.optim.Adam(groups, **SETTINGS)
    for factor in (1.0, 0.1, 0.7, 1.0):
        grads = state.gradients()
        for group, rate in zip(adam.param_groups, RATES, strict=True):
            group["lr"] = rate * factor
        for p, g in zip(others, grads, strict=True):
            p.grad = g
        adam.step()
        state.step(grads, factor)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    for ours, theirs in zip(state.params, others, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=tolerance, atol=tolerance)
    assert state.status[STEP:].tolist() == [4, 0, 0]


@pytest.mark.parametrize("half", [False, True])
def test_follows_the_reference(device: torch.device, dtype: torch.dtype, half: bool) -> None:
    ours, twin = State(dtype, device, half), State(dtype, device, half)
    for factor in (1.0, 0.3, 0.01):
        grads = ours.gradients()
        ours.step(grads, factor)
        twin.step(grads, factor, ops=(reference.gradient_norm, reference.adam_step))
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    for a, b in zip(ours.tensors(), twin.tensors(), strict=True):
        if a.dtype == torch.float16:  # a last bit in float may fall on either side of a tie
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-7)
        else:
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    for p, copy in zip(ours.params, ours.half_copies, strict=True):
        assert copy is None or torch.equal(copy, p.float().half())


def test_the_half_copy_rounds_as_torch_does(device: torch.device) -> None:
    values = torch.cat([
        torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.float16).float(),
        torch.tensor([65519.9, 65520.0, 1e6, 2.0**-25, 2.0**-25 * 1.001, 3 * 2.0**-25, 1e-9]),
    ])  # fmt: skip
    between = (values[:-1] + values[1:]) / 2  # many ties
    params = [torch.cat([values, between]).to(device)]
    zeros = [torch.zeros_like(params[0])]
    half = [torch.zeros_like(params[0], dtype=torch.float16)]
    status = torch.tensor([0.0, 1.0, 0.0, 0.0], device=device)
    factor = torch.ones(1, device=device)
    adam_step(params, zeros, zeros, [zeros[0].clone()], half, [0.0], factor, status,
              betas=(0.9, 0.99), eps=1e-8)  # fmt: skip
    expected = params[0].half()
    number = ~expected.isnan()
    assert torch.equal(half[0][number].view(torch.int16), expected[number].view(torch.int16))
    assert bool(half[0][~number].isnan().all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 1, 5])
def test_a_gradient_that_is_not_finite_skips_the_step(
    device: torch.device, dtype: torch.dtype, bad: float, where: int
) -> None:
    state = State(dtype, device, half=True)
    state.step(state.gradients())
    before = [v.clone() for v in state.tensors()]
    for count in (1, 2):
        grads = state.gradients()
        grads[where].view(-1)[-1] = bad
        state.step(grads)
        assert not torch.isfinite(state.status[NORM])
        assert state.status[STEP:].tolist() == [1, count, count]
    assert all(torch.equal(a, b) for a, b in zip(before[1:], state.tensors()[1:], strict=True))
    state.step(state.gradients())
    assert state.status[[STEP, SKIPPED, STREAK]].tolist() == [2, 2, 0]
    assert not torch.equal(before[1], state.params[0])


def test_same_bits_every_time_and_for_any_number_of_threads(device: torch.device) -> None:
    def run(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        state = State(torch.float32, device, half=True)
        for _ in range(3):
            state.step(state.gradients())
        return state.tensors()

    before = torch.get_num_threads()
    try:
        results = [run(1), run(1), run(2), run(3)]
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_unaligned_tensors(device: torch.device) -> None:
    flat = torch.zeros(3, 10001, device=device)
    params, grads = [flat[0][1:]], [torch.ones(10001, device=device)[1:]]
    moments = [flat[1][1:]], [flat[2][1:]]
    status, factor = torch.zeros(4, device=device), torch.ones(1, device=device)
    gradient_norm(grads, status, workspace(device))
    adam_step(params, grads, *moments, [None], [0.25], factor, status, **SETTINGS)
    assert float(status[NORM]) == 100.0
    torch.testing.assert_close(params[0], torch.full_like(params[0], -0.25))  # the first step's
    assert flat[:, 0].tolist() == [0.0, 0.0, 0.0]


def test_autograd_notices_the_write() -> None:
    w = torch.ones(3, requires_grad=True)
    loss = (w * w).sum()
    moments = [torch.zeros(3)], [torch.zeros(3)]
    status = torch.tensor([0.0, 1.0, 0.0, 0.0])
    adam_step([w], [torch.ones(3)], *moments, [None], [1.0], torch.ones(1), status, **SETTINGS)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_bad_arguments_are_named() -> None:
    good = State(torch.float32, torch.device("cpu"))
    grads = good.gradients()

    def step(**changes: Any) -> None:
        arguments = {
            "params": good.params, "grads": grads, "exp_avg": good.exp_avg,
            "exp_avg_sq": good.exp_avg_sq, "half_copies": good.half_copies, "rates": RATES,
            "factor": torch.ones(1), "status": good.status, **SETTINGS,
        }  # fmt: skip
        adam_step(**(arguments | changes))

    with pytest.raises(ValueError, match=r"grads must hold 6 tensors, got 5"):
        step(grads=grads[:5])
    with pytest.raises(ValueError, match=r"grads\[1\] must have shape \[7\], got \[8\]"):
        step(grads=[grads[0], torch.ones(8), *grads[2:]])
    with pytest.raises(ValueError, match=r"exp_avg\[0\] must be torch.float32, got torch.float64"):
        step(exp_avg=[m.double() for m in good.exp_avg])
    with pytest.raises(ValueError, match=r"half_copies must be torch.float16, got torch.float32"):
        step(half_copies=good.params)
    with pytest.raises(ValueError, match=r"params\[0\] is written in place and must be contiguous"):
        step(params=[torch.ones(2, 40000).t(), *good.params[1:]])
    with pytest.raises(ValueError, match=r"factor must have shape \[1\]"):
        step(factor=torch.ones(()))
    with pytest.raises(ValueError, match=r"betas must be in \[0, 1\), got \(0.9, 1.0\)"):
        step(betas=(0.9, 1.0))
    with pytest.raises(ValueError, match=r"rates and half_copies must have one item"):
        step(rates=[1.0])
    with pytest.raises(ValueError, match=r"grads must hold at most 16 tensors, got 17"):
        gradient_norm([torch.ones(1)] * 17, good.status, good.space)
    with pytest.raises(ValueError, match=r"status must have shape \[4\], got \[3\]"):
        gradient_norm(grads, torch.zeros(3), good.space)
    with pytest.raises(ValueError, match=r"space must be float64"):
        gradient_norm(grads, good.status, torch.zeros(2))
