"""Refine coarse fields against the true images of the procedural world.

    python benchmarks/check_refine.py "a red and white striped mug" --steps 100 --out DIR

A field is trained on true images of 24 pixels, as by a prior that knows the object, and its mesh is
refined on true images of --seen pixels. For the mesh at the start and at the end it prints the IoU
of the silhouettes and the PSNR of the albedo inside them, over eight views that are no training
views, and the seconds of a step.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

import dfast
from dfast.render.surface import render_surface
from dfast.runs.refined import Refined
from dfast.runs.refined_file import START, read_start
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import fixed_lighting
from dfast.scene.mesh_scene import MeshScene
from dfast.world.tracer import render_scene

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
    parser.add_argument("--out", type=Path, required=True, help="folder of the run folders")
    options = parser.parse_args()
    plan = {"refine": {"steps": options.steps, "resolution": options.resolution}}
    print("| object | faces | IoU | PSNR, dB | seconds a step |")
    print("|---|---|---|---|---|")
    for prompt in options.prompts:

        def truth(cameras: CameraBatch, size: int, prompt: str = prompt) -> Tensor:
            return render_scene(scene_of(prompt), cameras, size)

        coarse = dfast.train(
            prompt, prior=OraclePrior(24, truth), config=COARSE, device="cpu", progress=False
        )
        stage, began = options.out / prompt.replace(" ", "-"), time.perf_counter()
        refined = dfast.refine(
            coarse, prior=OraclePrior(options.seen, truth), config=plan, device="cpu", out=stage
        )
        each = (time.perf_counter() - began) / options.steps
        start = MeshScene(read_start(stage / START), Background(coarse.config.background))
        iou, psnr = zip(*(agreement(mesh, prompt) for mesh in (start, refined.scene)), strict=True)
        faces = len(refined.scene.faces)
        print(
            f"| {prompt} | {faces} | {iou[0]:.3f}, {iou[1]:.3f} | {psnr[0]:.1f}, {psnr[1]:.1f} "
            f"| {each:.1f} |",
            flush=True,
        )
        write(refined, stage)


@torch.no_grad()
def agreement(mesh: MeshScene, prompt: str) -> tuple[float, float]:
    """Return the IoU of the silhouettes with the true ones, and the albedo's PSNR in both, dB."""
    cameras = views(*(11.0 + 45.0 * k for k in range(8)), elevation=15.0)
    scene, lighting = scene_of(prompt), fixed_lighting("albedo", cameras)
    white = render_scene(scene, cameras, RESOLUTION)
    black = render_scene(scene, cameras, RESOLUTION, background=(0.0, 0.0, 0.0))
    seen = render_surface(
        mesh, cameras, lighting, resolution=RESOLUTION, colors=torch.ones(len(cameras), 3)
    )
    true, own = (white - black).mean(1) < 0.5, seen.opacity[:, 0] > 0.5
    inside = (true & own)[:, None].expand_as(white)
    error = (seen.image - white)[inside].square().mean()
    return float((true & own).sum() / (true | own).sum()), float(-10 * error.log10())


def write(refined: Refined, stage: Path) -> None:
    """Write the mesh and the contact sheet, to look at."""
    refined.mesh(stage / "object.glb")
    refined.contact_sheet(stage / "contact_sheet.png")


if __name__ == "__main__":
    main()
