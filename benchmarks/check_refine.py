"""Refine coarse fields against the true images of the procedural world.

    python benchmarks/check_refine.py "a red and white striped mug" --steps 100 --out DIR

A field is trained on true images of 24 pixels, as by a prior that knows the object, and its mesh is
refined on true images of --seen pixels; or the embedded prior does both with its own settings
(--embedded). For the mesh at the start and at the end it prints the IoU of the silhouettes, the
PSNR of the albedo and the mean error of the normals inside them, over eight views that are no
training views, IoU and normals as `dfast evaluate` has them, which brings the object to the true
one's place and size first, and the seconds of the stage by its steps.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

import dfast
from dfast.evaluation.score import score
from dfast.render.surface import render_surface
from dfast.runs.refined import Refined
from dfast.runs.refined_file import START, read_start
from dfast.runs.result import Result
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import fixed_lighting
from dfast.scene.mesh_scene import MeshScene
from dfast.world.tracer import EMPTY, render_scene, trace

sys.path.insert(0, str(Path(__file__).parents[1] / "python_tests"))
from oracle import OraclePrior
from procedural import scene_of, views

RESOLUTION = 256
COARSE = dfast.Config.default("cpu").replace(
    background={"kind": "solid", "color": [1.0, 1.0, 1.0]},
    shading={"albedo": 1.0, "diffuse": 0.0, "textureless": 0.0},
    camera={"resolution": [[0.0, 24]]},
    march={"step_size": 0.06},
    regularizer={"darkness": [0.0, 0.0]},
    train={"steps": 120, "average_from": 1.0},
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", nargs="+", help="sentences of the world")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--seen", type=int, default=128, help="pixels that the truth compares")
    parser.add_argument("--embedded", action="store_true", help="take the embedded prior")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run folders")
    options = parser.parse_args()
    print("| object | faces | IoU | PSNR, dB | normals | aligned: IoU | normals | seconds a step |")
    print("|---|---|---|---|---|---|---|---|")
    for prompt in options.prompts:
        coarse, refined, each = refine(prompt, options)
        path = options.out / folder_of(prompt) / START
        start = MeshScene(read_start(path), Background(coarse.config.background))
        before = (*agreement(start, prompt), *aligned(coarse, prompt))
        after = (*agreement(refined.scene.cpu(), prompt), *aligned(refined, prompt))
        digits = (3, 1, 1, 3, 1)
        pairs = (f"{a:.{n}f}, {b:.{n}f}" for a, b, n in zip(before, after, digits, strict=True))
        cells = (prompt, str(len(refined.scene.faces)), *pairs, f"{each:.1f}")
        print(f"| {' | '.join(cells)} |", flush=True)


def folder_of(prompt: str) -> str:
    """Return the name of the run folder of a stage."""
    return prompt.replace(" ", "-")


def refine(prompt: str, options: argparse.Namespace) -> tuple[Result, Refined, float]:
    """Return a field, its refined mesh, which is written to look at, and the seconds of a step."""

    def truth(cameras: CameraBatch, size: int) -> Tensor:
        return render_scene(scene_of(prompt), cameras, size)

    coarse_prior, prior, config = OraclePrior(24, truth), OraclePrior(options.seen, truth), COARSE
    if options.embedded:
        coarse_prior = prior = "shapes"
        config = None
    coarse = dfast.train(
        prompt, prior=coarse_prior, config=config, device=options.device, progress=False
    )
    stage, began = options.out / folder_of(prompt), time.perf_counter()
    plan = {"refine": {"steps": options.steps, "resolution": options.resolution}}
    refined = dfast.refine(coarse, prior=prior, config=plan, device=options.device, out=stage)
    each = (time.perf_counter() - began) / options.steps
    refined.mesh(stage / "object.glb")
    refined.contact_sheet(stage / "contact_sheet.png")
    return coarse, refined, each


def aligned(found: Result | Refined, prompt: str) -> tuple[float, float]:
    """Return IoU and mean error of the normals at the pose in which an object agrees best."""
    scored = score(found, prompt)
    return scored.iou, math.nan if scored.surface is None else scored.surface.normals


@torch.no_grad()
def agreement(mesh: MeshScene, prompt: str) -> tuple[float, float, float]:
    """Return the IoU of the silhouettes with the true ones, and inside both the albedo's PSNR, dB,
    and the mean error of the normals, degrees."""
    cameras = views(*(11.0 + 45.0 * k for k in range(8)), elevation=15.0)
    scene, lighting = scene_of(prompt), fixed_lighting("albedo", cameras)
    white = render_scene(scene, cameras, RESOLUTION)
    buffer = trace(scene.table.repeated(len(cameras)), cameras, RESOLUTION)
    seen = render_surface(
        mesh,
        cameras,
        lighting,
        resolution=RESOLUTION,
        colors=torch.ones(len(cameras), 3),
        want_normal=True,
    )
    assert seen.normal is not None
    true, own = buffer.part != EMPTY, seen.opacity[:, 0] > 0.5
    inside = true & own
    error = (seen.image - white).movedim(1, -1)[inside].square().mean()
    normal = normalize(seen.normal.movedim(1, -1)[inside], dim=-1)
    cosine = (normal * normalize(buffer.normal[inside].float(), dim=-1)).sum(-1)
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1.0, 1.0))).mean()
    return float(inside.sum() / (true | own).sum()), float(-10 * error.log10()), float(angle)


if __name__ == "__main__":
    main()
