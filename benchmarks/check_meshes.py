"""Export finished runs, and compare the files with the field's own renders.

    python benchmarks/check_meshes.py runs/* --faces 50000 10000

For each run and face budget it prints a row of a table: faces, whether the mesh is closed, seconds
of the export, the silhouettes' IoU with the field's renders in eight views, and the PSNR of the
colours where both are opaque. `python_tests/mesh_renderer.py` draws the files and shares nothing
with dfast. With DFAST_TEST_NODE set (see python_tests/node.py) the Khronos validator's errors and
warnings follow.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import trimesh

import dfast
from dfast.runs.result import Result
from dfast.scene.cameras import spherical

sys.path.insert(0, str(Path(__file__).parents[1] / "python_tests"))
import mesh_renderer
from node import run_js

VIEWS = [(45.0 * k, elevation) for k, elevation in enumerate((10, 30, -15, 20, 45, 0, 25, 60))]
RESOLUTION = 256
Renders = list[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--faces", nargs="+", type=int, default=[50_000, 10_000])
    parser.add_argument("--texture", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print("| run | faces | closed | seconds | IoU | PSNR, dB | errors, warnings |")
    print("|---|---|---|---|---|---|---|")
    for folder in options.runs:
        result = dfast.load(folder, options.device)
        renders = render(result)
        for budget in options.faces:
            print(row(result, renders, folder.name, budget, options.texture), flush=True)


def render(result: Result) -> Renders:
    """Return colour before black [H, W, 3] and opacity [H, W] of every view."""
    found = []
    for azimuth, elevation in VIEWS:
        color = result.render(
            azimuth=azimuth,
            elevation=elevation,
            distance=3.0,
            fov=40.0,
            resolution=RESOLUTION,
            shading="albedo",
            background=(0.0, 0.0, 0.0),
        )
        cameras = spherical(torch.tensor([azimuth]), elevation, 3.0, 40.0)
        found.append((color / 255.0, result.opacity(cameras, RESOLUTION)[0].cpu().numpy()))
    return found


def row(result: Result, renders: Renders, name: str, budget: int, texture: int) -> str:
    """Export a result and return its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.glb"
        start = time.perf_counter()
        result.mesh(path, faces=budget, texture=texture)
        seconds = time.perf_counter() - start
        mesh = trimesh.load(path, force="mesh", process=False)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
        closed = mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
        iou, psnr = compare(path, renders)
        said = "-"
        if "DFAST_TEST_NODE" in os.environ:
            issues = run_js("read_glb", path)["issues"]
            said = f"{issues['numErrors']}, {issues['numWarnings']}"
    return (
        f"| {name} | {len(mesh.faces)} | {'yes' if closed else 'NO'} | {seconds:.1f} | {iou:.4f} "
        f"| {psnr:.1f} | {said} |"
    )


def compare(path: Path, renders: Renders) -> tuple[float, float]:
    """Return the silhouettes' IoU, and the PSNR of the colours where both are opaque, in dB."""
    model, both, either, error, count = mesh_renderer.read(path), 0, 0, 0.0, 0
    for (azimuth, elevation), (color, opacity) in zip(VIEWS, renders, strict=True):
        image, cover = mesh_renderer.render(model, azimuth, elevation, RESOLUTION)
        both += int(((opacity > 0.5) & (cover > 0.5)).sum())
        either += int(((opacity > 0.5) | (cover > 0.5)).sum())
        solid = (opacity > 0.9) & (cover > 0.9)
        miss = color[solid] / opacity[solid][:, None] - image[solid] / cover[solid][:, None]
        error, count = error + float((miss**2).sum()), count + miss.size
    return both / either, float(-10 * np.log10(error / count))


if __name__ == "__main__":
    main()
