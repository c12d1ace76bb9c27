"""Fused shading and compositing: the two ops it stands for, gradients, rays of every length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dfast import reference
from dfast.ops.march import Samples
from dfast.ops.shade_composite import RaySums, _shade_composite, shade_composite

pytestmark = pytest.mark.usefixtures("needs_native")

COUNTS = [5, 0, 32, 1, 31, 0, 33, 64, 100, 1000, 2]
VIEWS = 3


def make(
    counts: list[int], dtype: torch.dtype, device: torch.device, before: int = 0, after: int = 0
) -> dict[str, Any]:
    """Random arguments for rays with the given counts, and slots of no ray around them."""
    g = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=dtype).to(device)

    rays, slots = len(counts), before + sum(counts) + after
    offsets = torch.tensor([before, *counts]).cumsum(0).to(torch.int32).to(device)
    t, dt, x = rand(slots) * 3, rand(slots) * 0.2 + 0.01, rand(slots, 3) * 2 - 1
    none = torch.empty(0, device=device)
    return {
        "density": rand(slots) * 3,
        "albedo": rand(slots, 3),
        "gradient": rand(slots, 3) * 4 - 2,
        "samples": Samples(t, dt, none, x, offsets, none, none, none),
        "directions": torch.nn.functional.normalize(rand(rays, 3) - 0.5, dim=-1),
        "camera_ids": torch.randint(VIEWS, (rays,), generator=g, dtype=torch.int32).to(device),
        "light_position": rand(VIEWS, 3) * 6 - 3,
        "ambient": rand(VIEWS),
        "diffuse": rand(VIEWS),
        "textureless": rand(VIEWS),
    }


def learnt(args: dict[str, Any]) -> list[Tensor]:
    """The differentiable arguments, now asking for gradients."""
    values = [args[k] for k in ("density", "albedo", "gradient") if args[k] is not None]
    return [v.requires_grad_() for v in values]


def compare(args: dict[str, Any], rounding: float, **options: Any) -> None:
    """Values and gradients against the reference in float64: whole-tensor relative error."""
    exact = {k: v.detach().double() if _floating(v) else v for k, v in args.items()}
    samples = args["samples"]
    exact["samples"] = samples._replace(
        t=samples.t.double(), dt=samples.dt.double(), x=samples.x.double()
    )
    wide = {k: v.double() if isinstance(v, Tensor) else v for k, v in options.items()}
    inputs, exact_inputs = learnt(args), learnt(exact)
    got = shade_composite(**args, **options)
    want = reference.shade_composite(**exact, **wide)
    g = torch.Generator().manual_seed(1)
    upstream = [torch.randn(v.shape, generator=g, dtype=torch.float64).to(v.device) for v in want]
    for a, b in zip(got, want, strict=True):
        _close(a, b, rounding)
    down = torch.autograd.grad(got, inputs, [u.to(args["density"].dtype) for u in upstream])
    total = sum((u * v).sum() for u, v in zip(upstream, want, strict=True))
    exact_down = torch.autograd.grad(total, exact_inputs)
    owned = slice(int(samples.offsets[0]), int(samples.offsets[-1]))
    for a, b in zip(down, exact_down, strict=True):
        _close(a[owned], b[owned], rounding)


def _floating(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _close(got: Tensor, want: Tensor, rounding: float) -> None:
    assert got.shape == want.shape and bool(got.isfinite().all())
    error = float((got.detach().double() - want.detach()).norm())
    assert error <= rounding * float(want.detach().norm()) + 1e-30


ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("early_stop_eps", [0.0, 0.03])
@pytest.mark.parametrize("lit", [True, False])
@pytest.mark.parametrize("around", [0, 7])
def test_equals_the_reference(
    device: torch.device, dtype: torch.dtype, lit: bool, around: int, early_stop_eps: float
) -> None:
    args = make(COUNTS, dtype, device, around, 2 * around)
    if not lit:
        args["gradient"] = None
    compare(args, ROUNDING[dtype], early_stop_eps=early_stop_eps)


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 63, 64, 65, 1000])
def test_rays_of_every_length(device: torch.device, dtype: torch.dtype, n: int) -> None:
    background = torch.rand(VIEWS, 3, dtype=dtype, generator=torch.Generator().manual_seed(2))
    args = make([n, 0, n], dtype, device)
    compare(args, ROUNDING[dtype], background=background.to(device))


@pytest.mark.parametrize("at", [0, 1, 31, 32, 40])
def test_opaque_samples(device: torch.device, dtype: torch.dtype, at: int) -> None:
    """Behind a wall nothing is seen and nothing is learnt, and in front all digits are kept."""
    args = make([70], dtype, device)
    args["density"] *= 0.1
    args["density"][at] = 1e6
    compare(args, ROUNDING[dtype])
    result = shade_composite(**args)
    assert float(result.opacity.detach()) == pytest.approx(1.0, abs=1e-6)
    (d_density,) = torch.autograd.grad(result.color.sum() + result.depth.sum(), args["density"])
    assert not d_density[at + 1 :].any()
    assert bool(d_density[:at].ne(0).all())


def test_weights_and_transmittance_sum_to_one(device: torch.device, dtype: torch.dtype) -> None:
    args = make(COUNTS, dtype, device)
    args["density"] *= 0.1
    samples = args["samples"]
    optical = (args["density"] * samples.dt).split(COUNTS)
    through = torch.exp(-torch.stack([v.double().sum() for v in optical]))
    opacity = shade_composite(**args).opacity
    torch.testing.assert_close(
        opacity.double() + through, torch.ones_like(through), rtol=0,
        atol=100 * torch.finfo(dtype).eps,
    )  # fmt: skip


def test_views_share_rays_equally_without_indices(device: torch.device) -> None:
    args = make([3, 0, 4, 40, 1, 2], torch.float32, device)
    args["camera_ids"] = torch.tensor([0, 0, 1, 1, 2, 2], dtype=torch.int32, device=device)
    background = torch.rand(VIEWS, 3).to(device)
    want = shade_composite(**args, background=background)
    args["camera_ids"] = None
    got = shade_composite(**args, background=background)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    args = make([3, 0, 4, 40], torch.float32, device) | {"camera_ids": None}
    with pytest.raises(ValueError, match=r"camera_ids is needed: 4 rays .* 3 views"):
        shade_composite(**args)


def test_orientation_punishes_only_normals_that_face_away(device: torch.device) -> None:
    args = make([1, 1], torch.float64, device)
    args["density"][:] = 3.0
    args["gradient"] = torch.tensor([[-2.0, 0, 0], [2.0, 0, 0]], dtype=torch.float64).to(device)
    args["directions"] = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64).to(device)
    inputs = learnt(args)
    result = shade_composite(**args)
    orientation, opacity = result.orientation.tolist(), result.opacity.tolist()
    assert orientation == [pytest.approx(opacity[0], rel=1e-5), 0.0]
    d_density, d_albedo, d_gradient = torch.autograd.grad(result.orientation.sum(), inputs)
    assert not d_density.any() and not d_albedo.any()  # weights are constants
    assert bool(d_gradient[0].any()) and not d_gradient[1].any()


def test_samples_past_an_early_stop_get_zero_gradients(device: torch.device) -> None:
    args = make([200, 100], torch.float32, device)
    inputs = learnt(args)
    result = shade_composite(**args, early_stop_eps=0.1)
    for gradient in torch.autograd.grad([v.sum() for v in result], inputs):
        assert bool(gradient[0].any()) and bool(gradient[200].any())
        assert not gradient[150:200].any() and not gradient[250:].any()


@pytest.mark.parametrize("early_stop_eps", [0.0, 0.2])
@pytest.mark.parametrize("lit", [True, False])
def test_gradcheck(device: torch.device, lit: bool, early_stop_eps: float) -> None:
    """All results but the orientation, whose weights are constants; its own check is below."""
    args = make([4, 0, 7, 1], torch.float64, device)
    background = torch.rand(VIEWS, 3, dtype=torch.float64).to(device)
    if not lit:
        args["gradient"] = None
    names = [k for k in ("density", "albedo", "gradient") if args[k] is not None]

    def f(*inputs: Tensor) -> tuple[Tensor, ...]:
        now = args | dict(zip(names, inputs, strict=True))
        return shade_composite(**now, background=background, early_stop_eps=early_stop_eps)[:4]

    torch.autograd.gradcheck(f, learnt(args))


def test_gradcheck_of_the_orientation(device: torch.device) -> None:
    args = make([4, 0, 7, 1], torch.float64, device)

    def f(gradient: Tensor) -> Tensor:
        return shade_composite(**args | {"gradient": gradient}).orientation

    torch.autograd.gradcheck(f, (args["gradient"].requires_grad_(),))


def test_a_second_derivative_is_refused(device: torch.device) -> None:
    args = make([4], torch.float64, device)
    density = args["density"].requires_grad_()
    color = shade_composite(**args).color
    (first,) = torch.autograd.grad(color.square().sum(), density, create_graph=True)
    with pytest.raises(RuntimeError, match="shade_composite_backward"):
        torch.autograd.grad(first.sum(), density)


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    args = make([0, 0], dtype, device)
    inputs = learnt(args)
    result = shade_composite(**args, background=torch.ones(VIEWS, 3).to(args["density"]))
    assert bool((result.color == 1).all()) and not any(v.any() for v in result[1:])
    assert [len(v) for v in torch.autograd.grad(result.color.sum(), inputs)] == [0, 0, 0]
    assert shade_composite(**make([], dtype, device)).color.shape == (0, 3)

    args = make([5, 9], dtype, device)
    want = shade_composite(**args)

    def twice(v: Tensor) -> Tensor:
        return v.repeat_interleave(2, dim=0)[::2]

    strided = {k: twice(v) if isinstance(v, Tensor) else v for k, v in args.items()}
    strided["samples"] = Samples(*map(twice, args["samples"]))
    strided["albedo"] = args["albedo"].T.contiguous().T
    got = shade_composite(**strided)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"albedo": torch.zeros(4, 3)}, r"albedo must have shape \[14, 3\], got \[4, 3\]"),
        ({"gradient": torch.zeros(14)}, r"gradient must have shape \[14, 3\], got \[14\]"),
        ({"directions": torch.zeros(3, 3)}, r"samples.offsets must be int32 \[4\]"),
        ({"ambient": torch.zeros(2)}, r"ambient must have shape \[3\], got \[2\]"),
        ({"diffuse": torch.zeros(3).double()}, "diffuse must be torch.float32, got torch.float64"),
        ({"background": torch.zeros(3)}, r"background must have shape \[3, 3\], got \[3\]"),
        (
            {"camera_ids": torch.zeros(2)},
            r"camera_ids must be int32 \[2\], got torch.float32 \[2\]",
        ),
        (
            {"camera_ids": torch.full((2,), 3, dtype=torch.int32)},
            r"camera_ids must be in \[0, 3\), got",
        ),
        ({"early_stop_eps": 1.0}, r"early_stop_eps must be in \[0, 1\), got 1.0"),
        ({"eps": 0.0}, "eps must be positive, got 0.0"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shade_composite(**make([5, 9], torch.float32, torch.device("cpu")) | change)


@pytest.mark.parametrize("offsets", [[1, 5, 15], [-1, 5, 14], [0, 9, 5]])
def test_bad_offsets(offsets: list[int]) -> None:
    args = make([5, 9], torch.float32, torch.device("cpu"))
    wrong = args["samples"]._replace(offsets=torch.tensor(offsets, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"samples.offsets must rise within \[0, 14\]"):
        shade_composite(**args | {"samples": wrong})


def test_same_bytes_for_any_thread_count() -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            args = make([13] * 2000, torch.float32, torch.device("cpu"))
            inputs = learnt(args)
            sums: RaySums = shade_composite(**args)
            results.append([*sums, *torch.autograd.grad([v.sum() for v in sums], inputs)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("lit", [True, False])
def test_opcheck(device: torch.device, lit: bool) -> None:
    args = make([4, 0, 7], torch.float32, device)
    if not lit:
        args["gradient"] = None
    learnt(args)
    s = args.pop("samples")
    density, albedo, gradient, *rest = args.values()
    rest += [torch.rand_like(rest[2]), 0.01, 1e-6]  # the background, early_stop_eps, eps
    inputs = (density, albedo, gradient, s.x, s.t, s.dt, s.offsets, *rest)
    torch.library.opcheck(_shade_composite, inputs)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("lit", [True, False])
@pytest.mark.parametrize("early_stop_eps", [0.0, 0.03])
def test_cuda_agrees_with_the_cpu(dtype: torch.dtype, lit: bool, early_stop_eps: float) -> None:
    """Twenty thousand rays, so that a warp takes several."""
    results = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        args = make([*COUNTS, 0, 3, 0] * 1500, dtype, device)
        if not lit:
            args["gradient"] = None
        inputs = learnt(args)
        sums = shade_composite(**args, early_stop_eps=early_stop_eps)
        results.append([*sums, *torch.autograd.grad([v.sum() for v in sums], inputs)])
    # A sample whose T_i rounds to either side of early_stop_eps weighs early_stop_eps at most.
    rounding = ROUNDING[dtype] if early_stop_eps == 0 or dtype == torch.float64 else 1e-4
    for a, b in zip(*results, strict=True):
        _close(b.cpu(), a.double(), rounding)


def test_tangents_without_rays(device: torch.device) -> None:
    args = make([], torch.float32, device, after=3)
    density = args.pop("density")

    def run(density: Tensor) -> tuple[Tensor, ...]:
        return tuple(shade_composite(density, **args))

    want, got = torch.func.jvp(run, (density,), (torch.ones_like(density),))
    assert [v.shape for v in got] == [v.shape for v in want]
