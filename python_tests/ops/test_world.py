"""Procedural scenes: known answers, the torch twin for every kind of part, views."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfast import _native
from dfast.ops.world import FIELDS, _scene_distance, _trace_views, scene_distance, trace_views
from dfast.scene.cameras import CameraBatch, aimed
from dfast.world import tracer
from dfast.world.parts import KINDS, Part
from dfast.world.scenes import PartTable, part_table, table_distance

pytestmark = pytest.mark.usefixtures("needs_native")


def make(scenes: int, parts: int, kind: str | None = None, largest: float = 0.6) -> PartTable:
    """Return scenes of random parts, of one kind or of all of them, some left out; float64."""
    g = torch.Generator().manual_seed(parts)

    def rand(*shape: int) -> Tensor:
        return torch.rand(scenes, parts, *shape, generator=g, dtype=torch.float64)

    which = torch.randint(len(KINDS), (scenes, parts), generator=g)
    if kind is not None:
        which = torch.full_like(which, KINDS.index(kind))
    rotation, _ = torch.linalg.qr(2 * rand(3, 3) - 1)
    size, extra, share = 0.03 + largest * rand(3) ** 2, 0.05 + 0.4 * rand(), rand()
    hollow = (which == KINDS.index("bowl")) | (which == KINDS.index("tube"))
    size[..., 1] = torch.where(hollow, 0.2 * size[..., 0], size[..., 1])
    size[..., 2] = torch.where(which == KINDS.index("arc"), 180 * share.sqrt(), size[..., 2])
    edge = (4 * share - 2).clamp(-1, 1)  # half of the wedges are ramps
    extra = torch.where(which == KINDS.index("wedge"), edge, extra)
    extra = torch.where(which == KINDS.index("superquadric"), 2 + 5 * share, extra)
    return PartTable(
        kind=torch.where(rand() < 0.1, -1, which),
        center=(rand(3) - 0.5) * largest,
        rotation=rotation.contiguous(),
        size=size,
        rounding=0.03 * rand(),
        extra=extra,
        blend=0.2 * (rand() - 0.5).clamp_min(0),
        offset=0.3 * (rand(3) - 0.5),
        scale=0.7 + 0.6 * rand(3),
        taper=0.4 * (rand() - 0.5) * (rand() < 0.5),
    )


def points(scenes: int, count: int) -> Tensor:
    """Return points in and around the unit sphere, float64 [scenes, count, 3]."""
    g = torch.Generator().manual_seed(0)
    return 3 * torch.rand(scenes, count, 3, generator=g, dtype=torch.float64) - 1.5


def cameras(count: int, dtype: torch.dtype, device: torch.device) -> CameraBatch:
    """Return cameras at distance 3, all around."""
    azimuth = torch.arange(count, dtype=dtype, device=device) * 77 - 150
    fill = torch.ones_like(azimuth)
    return aimed(azimuth, 0.3 * azimuth, 3 * fill, 40 * fill)


def rays(count: int, resolution: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the rays of cameras on the CPU, [count, resolution**2, 3] each."""
    origins, directions = cameras(count, dtype, torch.device("cpu")).rays(resolution)
    return origins.view(count, -1, 3), directions.view(count, -1, 3)


def test_kinds_and_fields_are_those_of_the_world() -> None:
    assert _native.constant("world_primitives") == len(KINDS)
    assert tuple(FIELDS) == PartTable._fields


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_distance_is_that_of_the_twin(
    device: torch.device, dtype: torch.dtype, kind: str | None
) -> None:
    table, x = make(3, 24 if kind is None else 4, kind).like(points(3, 1)), points(3, 2000)
    table, x = table.like(x.to(device, dtype)), x.to(device, dtype)
    truth, expected_part = table_distance(table.like(x.double()), x.double())
    own_error = (table_distance(table, x)[0] - truth).abs().max()
    distance, part = scene_distance(table, x)
    assert distance.dtype == dtype and part.dtype == torch.int64
    assert (distance - truth).abs().max() <= 2 * own_error + 16 * torch.finfo(dtype).eps
    assert (part == expected_part).double().mean() > 0.999  # ties may fall either way


def test_distance_of_a_placed_sphere(device: torch.device, dtype: torch.dtype) -> None:
    sphere = part_table([Part("ellipsoid", (0.0, 0.0, 0.5), (0.25,) * 3)], 3).repeated(1)
    offset, scale = torch.tensor([[1.0, 0.0, 0.0]]), torch.full((1, 3), 2.0)
    x = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 2.0, 1.0]]]).to(device, dtype)
    distance, part = scene_distance(sphere.placed(offset, scale, torch.zeros(1)).like(x), x)
    assert distance[0, [0, 2]].tolist() == pytest.approx([0.5, 1.5], rel=1e-5)
    assert distance[0, 1] <= 0 and not part.any()


def test_scene_without_parts_and_points_that_are_nan(device: torch.device) -> None:
    x = points(2, 5).to(device)
    table = make(2, 3).like(x)
    distance, part = scene_distance(table._replace(kind=-torch.ones_like(table.kind)), x)
    assert (distance == 1e9).all() and not part.any()
    x[1, 2, 1] = torch.nan
    found = scene_distance(table, x)[0].isnan()
    assert found[1, 2] and found.sum() == 1


@pytest.mark.parametrize("tolerance", [2e-3, 1e-2])
def test_views_are_those_of_the_twin(
    device: torch.device, dtype: torch.dtype, tolerance: float
) -> None:
    camera, origins = cameras(4, dtype, device), torch.zeros(1, dtype=dtype, device=device)
    table = make(4, 12, largest=0.4).like(origins)
    got = tracer.trace(table, camera, 40, tolerance=tolerance)
    want = tracer.trace(table, camera, 40, tolerance=tolerance, distance=table_distance)
    assert 0.1 < (want.part != tracer.EMPTY).double().mean() < 0.9
    assert (got.part == want.part).double().mean() > 0.998
    both = (got.part == want.part) & (got.part != tracer.EMPTY)
    off = (got.normal.int() - want.normal.int())[both].abs().amax(-1)
    assert (off <= 1).double().mean() > 0.99
    assert (got.pattern == want.pattern)[both].double().mean() > 0.99
    nothing = got.part == tracer.EMPTY
    assert not got.normal[nothing].any() and not got.pattern[nothing].any()


def test_a_box_that_is_all_rounding_has_dots(device: torch.device) -> None:
    """Its half sizes are zero, by which the dots' axes are not divided."""
    origins = torch.zeros(1, device=device)
    table = part_table([Part("box", (0.0, 0.0, 0.0), (0.0,) * 3, rounding=0.5)], 1).repeated(1)
    camera = cameras(1, torch.float32, device)
    got = tracer.trace(table.like(origins), camera, 32)
    want = tracer.trace(table.like(origins), camera, 32, distance=table_distance)
    both = (got.part != tracer.EMPTY) & (want.part != tracer.EMPTY)
    assert (got.pattern == want.pattern)[both].double().mean() > 0.98
    assert len(got.pattern[both].unique()) > 4


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    x = points(2, 30).to(device, dtype)
    table = make(2, 5).like(x)
    none = PartTable(*(t[:0] for t in table))
    assert [v.shape for v in scene_distance(none, x[:0])] == [(0, 30), (0, 30)]
    assert [v.shape for v in scene_distance(table, x[:, :0])] == [(2, 0), (2, 0)]
    assert [v.shape for v in trace_views(table, x[:, :0], x[:, :0])] == [(2, 0), (2, 0, 3), (2, 0)]
    strided = [v.repeat_interleave(2, dim=1)[:, ::2] for v in table]
    for a, b in zip(
        scene_distance(strided, x.transpose(1, 2).contiguous().transpose(1, 2)),
        scene_distance(table, x),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    x, table = points(3, 3000), make(3, 12)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = scene_distance(table, x)
    torch.set_num_threads(3)
    three = scene_distance(table, x)
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_bad_input() -> None:
    x, table = points(2, 5), make(2, 3)
    with pytest.raises(ValueError, match=r"^table must have 10 tensors, got 9$"):
        scene_distance(table[:9], x)
    with pytest.raises(ValueError, match=r"^kind must be int64 \[2, \*\], got torch.int32"):
        scene_distance(table._replace(kind=table.kind.int()), x)
    with pytest.raises(ValueError, match=r"^kind must be int64 \[1, \*\], got torch.int64"):
        scene_distance(table, x[:1])
    with pytest.raises(ValueError, match=r"^size must have shape \[2, 3, 3\], got \[2, 3, 2\]$"):
        scene_distance(table._replace(size=table.size[..., :2]), x)
    with pytest.raises(ValueError, match=r"^taper must be torch.float64, got torch.float32$"):
        scene_distance(table._replace(taper=table.taper.float()), x)
    with pytest.raises(ValueError, match=r"^x must have shape \[\*, \*, 3\], got \[5, 3\]$"):
        scene_distance(table, x[0])
    with pytest.raises(ValueError, match=r"^a scene must have 1 to 128 parts, got 129$"):
        scene_distance(make(2, 129), x)
    with pytest.raises(ValueError, match=r"^directions must have shape \[2, 5, 3\], got \[2, 4, 3"):
        trace_views(table, x, x[:, :4])
    with pytest.raises(ValueError, match=r"^steps must be a whole number in \[0, .*\], got -1$"):
        trace_views(table, x, x, steps=-1)
    with pytest.raises(ValueError, match=r"^tolerance must be in \(0, 1\), got 0.0$"):
        trace_views(table, x, x, tolerance=0.0)
    with pytest.raises(TypeError, match="scene_distance takes float32, float64 tensors"):
        scene_distance([t.half() if t.is_floating_point() else t for t in table], x.half())


def test_opcheck(device: torch.device) -> None:
    x = points(2, 7).float().to(device)
    table = make(2, 3).like(x)
    torch.library.opcheck(_scene_distance, (*table, x))
    origins, directions = (v.to(device) for v in rays(2, 3, torch.float32))
    torch.library.opcheck(_trace_views, (*table, origins, directions, 8, 2e-3))


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_cuda_is_the_cpus_twin() -> None:
    x, table = points(4, 5000), make(4, 48, largest=0.4)
    got = scene_distance(table.like(x.cuda()), x.cuda())
    want = scene_distance(table, x)
    torch.testing.assert_close(got[0].cpu(), want[0], rtol=0, atol=1e-12)
    assert (got[1].cpu() == want[1]).double().mean() > 0.999
    origins, directions = rays(4, 64, torch.float32)
    narrow = table.like(origins)
    seen = trace_views(narrow.like(origins.cuda()), origins.cuda(), directions.cuda())
    for a, b in zip(seen, trace_views(narrow, origins, directions), strict=True):
        assert ((a.cpu().int() - b.int()).abs() <= 1).double().mean() > 0.995
