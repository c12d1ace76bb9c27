"""Compositing: known integrals, the reference, gradients."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from dfast import reference
from dfast.ops.composite import _composite, composite

pytestmark = pytest.mark.usefixtures("needs_native")


def make(
    counts: list[int], dtype: torch.dtype, device: torch.device, channels: int = 3, seed: int = 0
) -> list[torch.Tensor]:
    """Return density, dt, colour, t and offsets of random samples of rays with these counts."""
    g = torch.Generator().manual_seed(seed)
    total = sum(counts)
    density = torch.rand(total, generator=g, dtype=dtype) * 6
    dt = torch.rand(total, generator=g, dtype=dtype) * 0.2 + 0.01
    rgb = torch.rand(total, channels, generator=g, dtype=dtype)
    t = torch.rand(total, generator=g, dtype=dtype) * 3
    offsets = torch.tensor([0, *counts]).cumsum(0).to(torch.int32)
    return [v.to(device) for v in (density, dt, rgb, t, offsets)]


def line(
    n: int, length: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One ray of n equal intervals over [0, length]: t (midpoints), dt, offsets, in float64."""
    dt = torch.full((n,), length / n, dtype=torch.float64, device=device)
    t = (torch.arange(n, dtype=torch.float64, device=device) + 0.5) * (length / n)
    return t, dt, torch.tensor([0, n], dtype=torch.int32, device=device)


@pytest.mark.parametrize("n", [1, 7, 500])
def test_constant_density_is_exact_for_any_sample_count(device: torch.device, n: int) -> None:
    tau0, length = 1.7, 2.0
    t, dt, offsets = line(n, length, device)
    color, _, opacity, weights = composite(
        torch.full_like(t, tau0), dt, torch.ones(n, 1).to(t), t, offsets
    )
    assert float(opacity) == pytest.approx(1 - math.exp(-tau0 * length), abs=1e-14)
    assert float(color) == pytest.approx(float(opacity), abs=1e-14)
    assert float(weights.sum()) == pytest.approx(float(opacity), abs=1e-14)


def test_exponential_density_converges_quadratically(device: torch.device) -> None:
    tau0, k, length = 3.0, 2.0, 1.5
    want = 1 - math.exp(-tau0 * (1 - math.exp(-k * length)) / k)
    errors = []
    for n in (20, 40, 80):
        t, dt, offsets = line(n, length, device)
        opacity = composite(tau0 * torch.exp(-k * t), dt, torch.ones(n, 1).to(t), t, offsets)[2]
        errors.append(abs(float(opacity) - want))
    assert errors[0] < 1e-3
    for coarse, fine in pairwise(errors):
        assert 3.5 < coarse / fine < 4.5


def test_colour_that_equals_distance(device: torch.device) -> None:
    tau0, length, n = 2.5, 1.2, 4000
    t, dt, offsets = line(n, length, device)
    color, depth, _, _ = composite(torch.full_like(t, tau0), dt, t[:, None], t, offsets)
    want = (1 - math.exp(-tau0 * length) * (1 + tau0 * length)) / tau0
    assert float(color) == pytest.approx(want, abs=1e-6)
    assert float(depth) == pytest.approx(want, abs=1e-6)


def test_gaussian_blob(device: torch.device) -> None:
    """Optical depth of a blob passed at distance b: lambda s sqrt(2 pi) exp(-b^2 / 2 s^2)."""
    height, s, b, n = 1.3, 0.2, 0.1, 2000
    t, dt, offsets = line(n, 4.0, device)
    density = height * torch.exp(-((t - 2) ** 2 + b * b) / (2 * s * s))
    opacity = composite(density, dt, torch.ones(n, 1).to(t), t, offsets)[2]
    want = height * s * math.sqrt(2 * math.pi) * math.exp(-b * b / (2 * s * s))
    assert -math.log(1 - float(opacity)) == pytest.approx(want, rel=1e-9)


def test_weights_and_transmittance_sum_to_one(device: torch.device, dtype: torch.dtype) -> None:
    density, dt, rgb, t, offsets = make([50, 0, 3, 200], dtype, device)
    opacity = composite(density, dt, rgb, t, offsets)[2]
    optical = torch.stack([v.sum() for v in (density * dt).split([50, 0, 3, 200])])
    atol = 200 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        opacity + torch.exp(-optical), torch.ones_like(opacity), rtol=0, atol=atol
    )


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("early_stop_eps", [0.0, 0.05])
def test_equals_the_reference(
    device: torch.device, dtype: torch.dtype, channels: int, early_stop_eps: float
) -> None:
    density, dt, rgb, t, offsets = make([5, 0, 30, 1, 100], dtype, device, channels)
    density.requires_grad_()
    rgb.requires_grad_()
    got = composite(density, dt, rgb, t, offsets, early_stop_eps=early_stop_eps)
    want = reference.composite(density, dt, rgb, t, offsets, early_stop_eps=early_stop_eps)
    # A ray is a sum of n terms below 3, each right to a few roundings of T.
    atol = 100 * 3 * torch.finfo(dtype).eps
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)
    upstream = [torch.randn(v.shape, generator=torch.Generator().manual_seed(1)).to(v) for v in got]
    for a, b in zip(
        torch.autograd.grad(got, (density, rgb), upstream),
        torch.autograd.grad(want, (density, rgb), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=10 * atol)


def test_early_stop_ends_a_ray(device: torch.device) -> None:
    t, dt, offsets = line(10, 10.0, device)
    density = torch.ones_like(t, requires_grad=True)
    _, _, opacity, weights = composite(
        density, dt, torch.ones(10, 1).to(t), t, offsets, early_stop_eps=0.1
    )
    assert weights.ne(0).tolist() == [True] * 3 + [False] * 7  # T = 1, e^-1, e^-2, then e^-3 < 0.1
    assert float(opacity.detach()) == pytest.approx(1 - math.exp(-3))
    (gradient,) = torch.autograd.grad(opacity.sum(), density)
    assert gradient.ne(0).tolist() == [True] * 3 + [False] * 7


@pytest.mark.parametrize("early_stop_eps", [0.0, 0.2])
def test_gradcheck(device: torch.device, early_stop_eps: float) -> None:
    density, dt, rgb, t, offsets = make([4, 0, 7, 1], torch.float64, device)

    def f(density: torch.Tensor, rgb: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return composite(density, dt, rgb, t, offsets, early_stop_eps=early_stop_eps)

    torch.autograd.gradcheck(f, (density.requires_grad_(), rgb.requires_grad_()))


def test_a_second_derivative_is_refused(device: torch.device) -> None:
    density, dt, rgb, t, offsets = make([4], torch.float64, device)
    density.requires_grad_()
    color = composite(density, dt, rgb, t, offsets)[0]
    (first,) = torch.autograd.grad(color.square().sum(), density, create_graph=True)
    with pytest.raises(RuntimeError, match="composite_backward"):
        torch.autograd.grad(first.sum(), density)


def test_slots_of_no_ray_weigh_nothing(device: torch.device) -> None:
    density, dt, rgb, t, offsets = make([4, 6], torch.float64, device)
    offsets = torch.tensor([1, 4, 8], dtype=torch.int32, device=device)
    density.requires_grad_()
    color, _, _, weights = composite(density, dt, rgb, t, offsets)
    (gradient,) = torch.autograd.grad(color.sum() + weights.sum(), density)
    for v in (weights, gradient):
        assert not v[:1].any() and not v[8:].any() and bool(v[1:8].ne(0).all())


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    density, dt, rgb, t, offsets = make([0, 0], dtype, device)
    density.requires_grad_()
    color, depth, opacity, weights = composite(density, dt, rgb, t, offsets)
    assert color.shape == (2, 3) and not color.any() and not depth.any() and weights.shape == (0,)
    (gradient,) = torch.autograd.grad(opacity.sum(), density)
    assert gradient.shape == (0,)
    none = composite(density, dt, rgb, t, offsets[:1])
    assert none[0].shape == (0, 3)

    density, dt, rgb, t, offsets = make([5, 9], dtype, device)
    want = composite(density, dt, rgb, t, offsets)
    twice = [v.repeat_interleave(2)[::2] for v in (density, dt, t, offsets)]
    got = composite(twice[0], twice[1], rgb.T.contiguous().T, twice[2], twice[3])
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_bad_input() -> None:
    density, dt, rgb, t, offsets = make([5, 9], torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"dt must have shape \[14\], got \[3\]"):
        composite(density, dt[:3], rgb, t, offsets)
    with pytest.raises(ValueError, match=r"rgb must be torch.float32, got torch.float64"):
        composite(density, dt, rgb.double(), t, offsets)
    with pytest.raises(ValueError, match="offsets must be int32"):
        composite(density, dt, rgb, t, offsets.long())
    with pytest.raises(ValueError, match="offsets must rise"):
        composite(density, dt, rgb, t, offsets + 1)
    with pytest.raises(ValueError, match="early_stop_eps must be in"):
        composite(density, dt, rgb, t, offsets, early_stop_eps=1.0)


def test_same_bytes_for_any_thread_count() -> None:
    args = make([13] * 2000, torch.float32, torch.device("cpu"))
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(composite(*args))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_opcheck(device: torch.device) -> None:
    density, dt, rgb, t, offsets = make([4, 0, 7], torch.float32, device)
    args = (density.requires_grad_(), dt, rgb.requires_grad_(), t, offsets, 0.01)
    torch.library.opcheck(_composite, args)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 65, 1000])
@pytest.mark.parametrize("channels", [3, 4])
def test_rays_of_every_length(
    device: torch.device, dtype: torch.dtype, n: int, channels: int
) -> None:
    """Against float64, whole-tensor: a warp takes 32 samples at a time, behind a wall as well."""
    density, dt, rgb, t, offsets = make([n, 0, n], dtype, device, channels)
    density[n + n // 2] = 1e6
    wide = [v.double() for v in (density, dt, rgb, t)]
    got_inputs, want_inputs = (density, rgb), (wide[0], wide[2])
    for v in (*got_inputs, *want_inputs):
        v.requires_grad_()
    got, want = composite(density, dt, rgb, t, offsets), reference.composite(*wide, offsets)
    upstream = [torch.randn(v.shape, generator=torch.Generator().manual_seed(1)) for v in want]
    down, exact = (
        torch.autograd.grad(
            values, inputs, [u.to(v) for u, v in zip(upstream, values, strict=True)]
        )
        for values, inputs in ((got, got_inputs), (want, want_inputs))
    )
    rounding = 1e-5 if dtype == torch.float32 else 1e-12
    for a, b in zip((*got, *down), (*want, *exact), strict=True):
        assert float((a.double() - b).detach().norm()) <= rounding * float(b.detach().norm())


def test_tangents_of_a_ray_know_nothing_of_the_rays_before_it(device: torch.device) -> None:
    dt = torch.full((3,), 0.5, dtype=torch.float64, device=device)
    offsets = torch.tensor([0, 1, 3], dtype=torch.int32, device=device)
    tangent = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64, device=device)

    def opacity(density: torch.Tensor) -> torch.Tensor:
        return composite(density, dt, torch.ones_like(dt)[:, None], torch.ones_like(dt), offsets)[2]

    for first in (1.0, 1e18, math.inf):
        density = torch.tensor([first, 3.0, 3.0], dtype=torch.float64, device=device)
        _, got = torch.func.jvp(opacity, (density,), (tangent,))
        # The second ray's opacity is 1 - exp(-0.5 (3 + 3)).
        assert got.tolist() == pytest.approx([0.0, math.exp(-3.0)], abs=1e-12)


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_tangents_without_rays(device: torch.device, samples: int) -> None:
    ones, offsets = torch.ones(samples, device=device), torch.zeros(1, dtype=torch.int32)

    def run(density: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(composite(density, ones, ones[:, None], ones, offsets.to(device)))

    want, got = torch.func.jvp(run, (ones,), (ones,))
    assert [v.shape for v in got] == [v.shape for v in want]
    assert not any(v.any() for v in got)
