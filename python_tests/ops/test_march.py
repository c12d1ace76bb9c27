"""Marching: every sample that brute force keeps, no other, in the same order, on every device."""

from __future__ import annotations

import importlib
import math

import pytest
import torch

from dfast import reference
from dfast.ops.bitfield import pack_bits
from dfast.ops.march import _march, march

march_op = importlib.import_module("dfast.ops.march")  # the package has a function of this name

pytestmark = pytest.mark.usefixtures("needs_native")

RESOLUTION = 16


def make_rays(count: int, dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from distance 3 and from inside; some miss, some run along an axis."""
    g = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1) * 3
    target = torch.randn(count, 3, generator=g) * 0.5
    if count > 6:
        origins[:3], target[:3] = torch.eye(3) * 3, 0.0
        origins[3:6], target[3:6] = torch.eye(3) * -0.3, 1.0  # from inside
    directions = torch.nn.functional.normalize(target.to(dtype) - origins.to(dtype), dim=-1)
    return origins.to(dtype), directions


def make_bits(density: float, seed: int = 0, resolution: int = RESOLUTION) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    occupied = torch.rand([resolution] * 3, generator=g) < density
    occupied[:4, :8] = False  # empty bricks
    occupied[8:12, 4:12] = True  # full bricks
    return pack_bits(occupied)


@pytest.mark.parametrize("cone_angle", [0.0, 0.02])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_equals_brute_force(device: torch.device, density: float, cone_angle: float) -> None:
    origins, directions = (v.to(device) for v in make_rays(300, torch.float64))
    jitter = torch.rand(300, dtype=torch.float64).to(device)
    bits = make_bits(density).to(device)
    kwargs = {"resolution": RESOLUTION, "radius": 1.0, "step_size": 0.013, "cone_angle": cone_angle}
    for j in (None, jitter):
        got = march(origins, directions, bits, jitter=j, **kwargs)
        want = reference.march(origins, directions, bits, jitter=j, **kwargs)
        assert torch.equal(got.offsets, want.offsets)
        assert torch.equal(got.ray, want.ray)
        torch.testing.assert_close(got.t, want.t, rtol=0, atol=1e-12)
        torch.testing.assert_close(got.dt, want.dt, rtol=0, atol=1e-12)
        torch.testing.assert_close(got.x, want.x, rtol=0, atol=1e-12)
        assert int(got.num_samples) == len(got.t) and not bool(got.overflow)
        assert got.num_rays_hit.tolist() == want.num_rays_hit.tolist()


def chequered_bits() -> torch.Tensor:
    """Every other cell: many short runs."""
    cell = torch.arange(RESOLUTION)
    return pack_bits((cell[:, None, None] + cell[:, None] + cell) % 2 == 0)


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("step_size", [3.0, 0.3, 0.013])  # one interval, fewer than lanes, many
def test_lanes_that_share_a_ray_change_nothing(
    device: torch.device, lanes: int, step_size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(march_op, "_lanes", lambda rays: lanes)
    rays = 101
    origins, directions = (v.to(device) for v in make_rays(rays, torch.float64))
    jitter = torch.rand(rays, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kwargs = {
        "resolution": RESOLUTION,
        "radius": 1.0,
        "step_size": step_size,
        "jitter": jitter.to(device),
    }
    for grid in (make_bits(0.3), torch.full_like(make_bits(0.3), 255), chequered_bits()):
        bits = grid.to(device)
        exact = reference.march(origins, directions, bits, **kwargs)
        busiest = int(exact.offsets.diff().argmax())
        inside = max(1, int(exact.offsets[busiest] + exact.offsets[busiest + 1]) // 2)
        assert 0 < int(exact.num_rays_hit) < rays and int(exact.num_samples) > inside
        for max_samples in (None, inside, inside - 1, 0):
            got = march(origins, directions, bits, max_samples=max_samples, **kwargs)
            want = reference.march(origins, directions, bits, max_samples=max_samples, **kwargs)
            for a, b in zip(got, want, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lanes", [1, 32])
def test_very_fine_steps(device: torch.device, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of thousands of intervals, and rays of 2e5, which is the most."""
    monkeypatch.setattr(march_op, "_lanes", lambda rays: lanes)
    origins, directions = (v.to(device) for v in make_rays(9, torch.float64))
    kwargs = {"resolution": RESOLUTION, "radius": 1.0}
    bits = chequered_bits().to(device)
    got = march(origins, directions, bits, step_size=2e-4, **kwargs)
    want = reference.march(origins, directions, bits, step_size=2e-4, **kwargs)
    assert torch.equal(got.offsets, want.offsets) and torch.equal(got.ray, want.ray)
    torch.testing.assert_close(got.x, want.x, rtol=0, atol=1e-12)

    full = torch.full_like(bits, 255)
    s = march(origins, directions, full, step_size=1e-5, max_samples=1_900_000, **kwargs)
    assert not bool(s.overflow) and int(s.offsets[:4].diff().min()) > 199_990
    of_first = slice(0, int(s.offsets[1]))  # from (3, 0, 0) through the middle
    k = torch.arange(int(s.offsets[1]), dtype=torch.float64, device=device)
    torch.testing.assert_close(s.t[of_first][:-1], 2 + (k[:-1] + 0.5) * 1e-5, rtol=0, atol=1e-11)
    assert float(s.dt[of_first].sum()) == pytest.approx(2.0, abs=1e-9)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("cone_angle", [0.0, 0.02])
@pytest.mark.parametrize("rays", [4096, 70_001, 300_001])
def test_cuda_equals_cpu(rays: int, cone_angle: float, dtype: torch.dtype) -> None:
    """As many lanes as the number of rays calls for, and writers that take many blocks of rays."""
    origins, directions = make_rays(rays, dtype)
    jitter = torch.rand(rays, generator=torch.Generator().manual_seed(1), dtype=dtype)
    bits = make_bits(0.2, resolution=64)
    kwargs = {"resolution": 64, "radius": 1.0, "step_size": 0.021, "cone_angle": cone_angle}
    want = march(origins, directions, bits, jitter=jitter, **kwargs)
    device = torch.device("cuda")
    inputs = [v.to(device) for v in (origins, directions, bits)]
    got = march(*inputs, jitter=jitter.to(device), max_samples=len(want.t), **kwargs)
    tolerance = 0 if dtype == torch.float64 else rays // 100  # rounding on cell faces
    assert int((got.offsets.diff().cpu() != want.offsets.diff()).sum()) <= tolerance
    assert abs(int(got.num_rays_hit) - int(want.num_rays_hit)) <= tolerance
    again = march(*inputs, jitter=jitter.to(device), max_samples=len(want.t), **kwargs)
    used = min(int(got.num_samples), len(want.t))
    for a, b in zip(got[:4], again[:4], strict=True):
        assert torch.equal(a[:used], b[:used])
    if dtype == torch.float64:
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-12)


def test_lanes_fill_a_gpu() -> None:
    assert [march_op._lanes(n) for n in (0, 4096, 2**16, 2**18, 2**22)] == [32, 32, 8, 2, 1]


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_rays_with_more_runs_than_are_stored_are_walked_again(
    device: torch.device, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chequered grid makes many short runs; where the stored ones end changes nothing."""
    bits = chequered_bits().to(device)
    origins, directions = (v.to(device) for v in make_rays(200, torch.float32))
    kwargs = {"resolution": RESOLUTION, "radius": 1.0, "step_size": 0.013}
    want = march(origins, directions, bits, **kwargs)
    assert float((want.t.diff() > 0.02).sum()) > 8 * 200 * 0.5  # rays do have more than eight
    monkeypatch.setattr(march_op, "_max_runs", lambda: runs)
    for max_samples in (None, len(want.t) - 301):
        got = march(origins, directions, bits, max_samples=max_samples, **kwargs)
        for a, b in zip((got.t, got.dt, got.ray, got.x), want, strict=False):
            assert torch.equal(a, b[:max_samples])


def test_positions_lie_on_the_rays(device: torch.device, dtype: torch.dtype) -> None:
    origins, directions = (v.to(device) for v in make_rays(300, dtype))
    bits = make_bits(0.3).to(device)
    for cone_angle in (0.0, 0.02):
        s = march(
            origins,
            directions,
            bits,
            resolution=RESOLUTION,
            radius=1.0,
            step_size=0.02,
            cone_angle=cone_angle,
        )
        want = origins[s.ray] + s.t[:, None] * directions[s.ray]
        torch.testing.assert_close(s.x, want, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("rays", [1, 7, 31, 33, 129, 70_000])
def test_every_number_of_rays(device: torch.device, rays: int) -> None:
    """Slots are handed out in blocks of 8 to 64 rays."""
    origins, directions = (v.to(device) for v in make_rays(rays, torch.float64))
    bits = make_bits(0.2).to(device)
    kwargs = {"resolution": RESOLUTION, "radius": 1.0, "step_size": 0.1}
    got = march(origins, directions, bits, **kwargs)
    want = reference.march(origins, directions, bits, **kwargs)
    assert torch.equal(got.offsets, want.offsets) and torch.equal(got.ray, want.ray)
    assert (
        int(got.num_samples) == len(want.t)
        and got.num_rays_hit.tolist() == want.num_rays_hit.tolist()
    )
    torch.testing.assert_close(got.x, want.x, rtol=0, atol=1e-12)
    short = march(origins, directions, bits, max_samples=len(want.t) // 3, **kwargs)
    assert torch.equal(short.t, got.t[: len(want.t) // 3])
    assert torch.equal(short.offsets, got.offsets.clamp(max=len(want.t) // 3))


@pytest.mark.parametrize("step_size", [0.004, 0.05, 0.7])
def test_float32_differs_from_brute_force_only_on_faces(
    device: torch.device, step_size: float
) -> None:
    """Rounding may put a sample that sits on a cell face on either side of it, and nothing else."""
    origins, directions = (v.to(device) for v in make_rays(2000, torch.float32))
    bits = make_bits(0.3, resolution=64).to(device)
    kwargs = {"resolution": 64, "radius": 1.0, "step_size": step_size}
    full = reference.march(origins, directions, torch.full_like(bits, 255), **kwargs)
    first = torch.zeros_like(origins[:, 0])  # the sample of each ray's first interval
    meets = full.offsets.diff() > 0
    first[meets] = full.t[full.offsets[:-1][meets].long()]
    keys = []
    for samples in (f(origins, directions, bits, **kwargs) for f in (march, reference.march)):
        number = ((samples.t - first[samples.ray.long()]) / step_size).round().long()
        keys.append(set(zip(samples.ray.tolist(), number.tolist(), strict=True)))
    marginal = keys[0] ^ keys[1]
    assert len(marginal) <= 1e-3 * max(len(keys[1]), len(origins))
    for ray, k in marginal:
        cell = (origins[ray] + (first[ray] + k * step_size) * directions[ray] + 1) * 32
        on_last = bool(first[ray] + (k + 1) * step_size > full.t[full.ray == ray].max())
        assert on_last or float((cell - cell.round()).abs().min()) < 1e-3


def test_full_grid_intervals_sum_to_the_chord(device: torch.device, dtype: torch.dtype) -> None:
    origins, directions = (v.to(device) for v in make_rays(200, dtype))
    bits = torch.full((RESOLUTION**3 // 8,), 255, dtype=torch.uint8, device=device)
    for cone_angle in (0.0, 0.03):
        s = march(
            origins,
            directions,
            bits,
            resolution=RESOLUTION,
            radius=1.0,
            step_size=0.01,
            cone_angle=cone_angle,
        )
        got = torch.zeros_like(origins[:, 0]).index_add_(0, s.ray.long(), s.dt)
        b = (origins * directions).sum(-1)
        half = (1 - (origins - b[:, None] * directions).square().sum(-1)).clamp(min=0).sqrt()
        chord = ((half - b) - (-b - half).clamp(min=0)).clamp(min=0)
        torch.testing.assert_close(
            got, chord, rtol=0, atol=2e-4 if dtype == torch.float32 else 1e-9
        )
        assert bool((s.dt > -1e-6).all())


def test_capacity_and_overflow(device: torch.device) -> None:
    origins, directions = (v.to(device) for v in make_rays(100, torch.float64))
    kwargs = {"resolution": RESOLUTION, "radius": 1.0, "step_size": 0.02}
    bits = make_bits(0.5).to(device)
    exact = march(origins, directions, bits, **kwargs)
    total = len(exact.t)

    roomy = march(origins, directions, bits, max_samples=total + 50, **kwargs)
    assert len(roomy.t) == total + 50 and not bool(roomy.overflow)
    assert torch.equal(roomy.t[:total], exact.t) and torch.equal(roomy.offsets, exact.offsets)
    assert torch.equal(roomy.x[:total], exact.x) and torch.equal(
        roomy.num_rays_hit, exact.num_rays_hit
    )

    tight = march(origins, directions, bits, max_samples=total // 2, **kwargs)
    assert bool(tight.overflow) and int(tight.num_samples) == total
    assert int(tight.offsets[-1]) == total // 2 == len(tight.t)
    assert torch.equal(tight.t, exact.t[: total // 2]) and torch.equal(
        tight.ray, exact.ray[: total // 2]
    )
    want = reference.march(origins, directions, bits, max_samples=total // 2, **kwargs)
    assert torch.equal(tight.offsets, want.offsets) and bool(want.overflow)

    nothing = march(origins, directions, bits, max_samples=0, **kwargs)
    assert len(nothing.t) == 0 and bool(nothing.overflow) and not nothing.offsets.any()


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    bits = make_bits(0.5).to(device)
    kwargs = {"resolution": RESOLUTION, "radius": 1.0, "step_size": 0.05}
    none = torch.empty(0, 3, device=device, dtype=dtype)
    s = march(none, none, bits, **kwargs)
    assert len(s.t) == 0 and s.offsets.tolist() == [0]
    assert int(s.num_samples) == int(s.num_rays_hit) == 0 and not bool(s.overflow)

    origins, directions = (v.to(device) for v in make_rays(40, dtype))
    want = march(origins, directions, bits, **kwargs)
    shifted = torch.cat([bits[:1], bits])[1:]  # not aligned to 8 bytes
    got = march(origins.T.contiguous().T, directions.repeat(1, 2)[:, :3], shifted, **kwargs)
    assert torch.equal(got.t, want.t) and torch.equal(got.ray, want.ray)


def test_same_bytes_for_any_thread_count() -> None:
    origins, directions = make_rays(3000, torch.float32)
    bits = make_bits(0.4)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(
                march(origins, directions, bits, resolution=RESOLUTION, radius=1.0, step_size=0.01)
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 18}, "resolution must be a positive multiple of 4, got 18"),
        ({"radius": 0.0}, "radius must be positive"),
        ({"step_size": 0.0}, "step_size must be finite and at least"),
        ({"step_size": math.nan}, "step_size must be finite"),
        ({"cone_angle": -1.0}, "cone_angle must be"),
        ({"max_samples": -1}, "max_samples must be"),
        ({"resolution": 8}, r"occupancy_bitfield must be uint8 \[64\]"),
        ({"jitter": torch.zeros(3)}, r"jitter must have shape \[5\], got \[3\]"),
        ({"directions": torch.zeros(5, 2)}, r"directions must have shape \[5, 3\], got \[5, 2\]"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    origins, directions = make_rays(5, torch.float32)
    kwargs = {"origins": origins, "directions": directions, "occupancy_bitfield": make_bits(0.5)}
    kwargs |= {"resolution": RESOLUTION, "radius": 1.0, "step_size": 0.05} | change
    with pytest.raises(ValueError, match=message):
        march(**kwargs)


@pytest.mark.parametrize("max_samples", [None, 50])  # 50: every slot is used
def test_opcheck(device: torch.device, max_samples: int | None) -> None:
    origins, directions = (v.to(device) for v in make_rays(20, torch.float32))
    jitter = torch.rand(20).to(device)
    args = (
        origins,
        directions,
        make_bits(0.5).to(device),
        jitter,
        RESOLUTION,
        1.0,
        0.05,
        0.0,
        max_samples,
    )
    torch.library.opcheck(_march, args)
