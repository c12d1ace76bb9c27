"""The score of a result against the procedural world: shape, identity, colours, front, faults.

- iou: best over yaw, scale, translation and level set; ellipsoid_iou is what the best-fitting
  ellipsoid would have got.
- rank: place of the caption's own geometry among every geometry of the grammar, by aligned IoU (1
  is first).
- albedo: share of the truth's surface where the colour one would see is within 0.3 (Euclidean RGB)
  of the truth's. colors: share of the parts (those with at least 4 % of the surface) whose median
  colour is nearest to the right word.
- front: for objects that have one, whether the best heading over all 360 degrees is within 30
  degrees of the front.
- empty, opaque, hazy, collapsed: faults, see `faults`.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dfast.evaluation.alignment import (
    SCALE,
    YAW,
    Prediction,
    Truth,
    align,
    place,
    refine,
)
from dfast.evaluation.faults import _flatness, faults
from dfast.evaluation.scorecard import PartScore, Score
from dfast.evaluation.truths import GRID, Surface, _catalogue, _ellipsoid, _surface, _truth
from dfast.mesh.density_grid import (
    DensityField,
    density_grid,
    device_of,
    grid_points,
    query,
    sample,
)
from dfast.world import grammar
from dfast.world.scenes import COLORS, PALETTE, Scene

COLOR_TOLERANCE = 0.3
FRONT_TOLERANCE = 30.0  # degrees
LARGE_PART = 0.04  # share of the surface
SAME_SHAPE = 0.97  # IoU above which two truths count as one geometry


def score(
    result: DensityField,
    prompt: str | None = None,
    *,
    seed: int | None = None,
    seconds: float | None = None,
) -> Score:
    """Measure one result. prompt: a caption of the grammar, by default the result's own.

    Takes a few seconds on a CPU (the first call of a process also builds the grammar's truths).
    Raises PromptError for a sentence outside the grammar.
    """
    text = prompt if prompt is not None else str(getattr(result, "prompt", ""))
    scene = grammar.parse(text)
    density = density_grid(result, GRID)
    prediction = Prediction(density)
    truth, surface = _truth(text), _surface(text)
    blob = _ellipsoid(text)
    if prediction.empty:
        return _nothing(scene, text, surface, blob, seed, seconds)

    poses, values = align(prediction, [truth], keep=24, rounds=16, count=2048)
    poses, values = poses[0], values[0]  # [24, 5], [24]
    agreement = torch.stack(
        [(_seen(result, prediction, truth, surface, p, 600)[1]).float().mean() for p in poses]
    )
    joint = (values + agreement).argmax()
    finalists = torch.cat([poses[joint][None], poses[values.topk(3).indices]])
    finalists, values = refine(prediction, [truth], finalists[None], rounds=10, count=8192)
    pose = finalists[0, 0]
    colors, right = _seen(result, prediction, truth, surface, pose, len(surface.points))
    parts = _parts(scene, surface, colors, right)
    large = [p for p in parts if p.share >= LARGE_PART]
    yaw = (float(pose[YAW]) + 180) % 360 - 180
    best = min(1.0, float(values.max()))
    rank, nearest = _retrieve(prediction, scene, truth)
    empty, opaque, hazy, haze = faults(density, prediction)
    flat = _flatness(prediction, truth, float(pose[SCALE])) < 0.25
    return Score(
        prompt=text,
        kind=scene.kind,
        seed=seed,
        iou=best,
        ellipsoid_iou=blob,
        rank=rank,
        nearest=nearest,
        albedo=float(right.float().mean()),
        colors=sum(p.color == p.seen for p in large) / len(large),
        front_yaw=yaw if scene.has_front else None,
        front=abs(yaw) <= FRONT_TOLERANCE if scene.has_front else None,
        empty=empty,
        opaque=opaque,
        hazy=hazy,
        collapsed=empty or opaque or flat or best < 0.1,
        haze=haze,
        seconds=seconds,
        parts=parts,
    )


def _nothing(
    scene: Scene,
    prompt: str,
    surface: Surface,
    blob: float,
    seed: int | None,
    seconds: float | None,
) -> Score:
    """The score of a scene in which there is nothing to see."""
    shares = zip(scene.part_colors, surface.shares.tolist(), strict=True)
    return Score(
        prompt=prompt,
        kind=scene.kind,
        seed=seed,
        iou=0.0,
        ellipsoid_iou=blob,
        rank=len(_catalogue()),
        nearest="",
        albedo=0.0,
        colors=0.0,
        front_yaw=None,
        front=False if scene.has_front else None,
        empty=True,
        opaque=False,
        hazy=False,
        collapsed=True,
        haze=0.0,
        seconds=seconds,
        parts=tuple(PartScore(color, share, 0.0, "") for color, share in shares),
    )


# --- parts of a score -----------------------------------------------------------------------------


def _seen(
    result: DensityField,
    prediction: Prediction,
    truth: Truth,
    surface: Surface,
    pose: Tensor,
    count: int,
) -> tuple[Tensor, Tensor]:
    """Colours [n, 3] that the first ``count`` surface points show under a pose, and whether each is
    right [n].

    A short ray runs along the normal from outside to inside; the colour is the field's albedo at
    the mean depth where the ray is absorbed. Rays that meet next to nothing have no colour (nan)
    and are wrong.
    """
    reach = torch.linspace(0.16, -0.12, 15)
    points, normals = surface.points[:count], surface.normals[:count]
    ray = (points[:, None] + reach[:, None] * normals[:, None]).reshape(1, -1, 3)
    placed = place(ray, truth.centroid[None], pose[None, None], prediction.centroid)[0, 0]
    tau = sample(prediction.density, placed).reshape(len(points), -1)
    step = 0.02 * float(pose[SCALE].exp())
    through = torch.exp(-step * tau).cumprod(1)
    weight = torch.cat([torch.ones(len(points), 1), through[:, :-1]], 1) - through
    opacity = weight.sum(1, keepdim=True)
    placed = placed.reshape(len(points), -1, 3)
    depth = (weight[..., None] * placed).sum(1) / opacity.clamp_min(1e-6)
    colors = query(result.albedo, depth, device_of(result))
    colors = torch.where(opacity > 0.3, colors, torch.nan)
    return colors, (colors - surface.albedo[:count]).norm(dim=-1) <= COLOR_TOLERANCE


def _parts(scene: Scene, surface: Surface, colors: Tensor, right: Tensor) -> tuple[PartScore, ...]:
    palette = torch.tensor([PALETTE[c] for c in COLORS])
    parts = []
    for k, word in enumerate(scene.part_colors):
        mine = surface.part == k
        shown = colors[mine]
        shown = shown[~shown[:, 0].isnan()]
        seen = ""
        if len(shown) > 0.3 * int(mine.sum()):
            seen = COLORS[int((palette - shown.median(0).values).norm(dim=-1).argmin())]
        accuracy = float(right[mine].float().mean()) if bool(mine.any()) else 0.0
        parts.append(PartScore(word, float(surface.shares[k]), accuracy, seen))
    return tuple(parts)


def _retrieve(prediction: Prediction, scene: Scene, truth: Truth) -> tuple[int, str]:
    """(rank of the scene's own geometry, name of the nearest one) among the catalogue.

    All are aligned coarsely, the best ten and the own one again with care. Geometries that a yaw,
    scale and shift make equal to the own one (a pair named in the other order) count as the own
    one.
    """
    entries = {**_catalogue(), scene.shape: truth}
    names = list(entries)
    truths = [entries[n] for n in names]
    coarse = align(prediction, truths, keep=2, rounds=8, count=512)[1].amax(1)
    close = {*coarse.topk(10).indices.tolist(), names.index(scene.shape)}
    some = sorted(close)
    fine = align(prediction, [truths[i] for i in some], keep=3, rounds=14, count=2048)[1].amax(1)
    order = [names[some[i]] for i in fine.argsort(descending=True).tolist()]
    rivals = [
        n for n in order[: order.index(scene.shape)] if not _same(n, scene.shape, scene.caption)
    ]
    return 1 + len(rivals), rivals[0] if rivals else scene.shape


@cache
def _same(shape: str, own: str, caption: str) -> bool:
    """Whether a geometry of the catalogue is the caption's own up to yaw, scale and shift."""
    solid = grammar.parse(caption).occupancy(grid_points(GRID)).float().reshape(GRID, GRID, GRID)
    best = align(Prediction(50 * solid), [_catalogue()[shape]], keep=4, rounds=12, count=2048)[1]
    return float(best.max()) >= SAME_SHAPE


class Nothing:
    """An empty field: what a run that failed is scored as."""

    def density(self, x: Tensor) -> Tensor:
        """0 everywhere, [N]."""
        return x.new_zeros(len(x))

    def albedo(self, x: Tensor) -> Tensor:
        """Black everywhere, [N, 3]."""
        return torch.zeros_like(x)
