"""Draw dfast beside the packages it is compared with, from the files that `dfast bench` wrote.

    python benchmarks/draw.py FILE.json [MORE.json ...] [--out benchmarks/results/comparison.png]
    python benchmarks/draw.py --runs LABEL RUN [RUN ...] [--runs LABEL RUN ...] --out gallery.png

Bars are logarithmic, shorter is faster. For a whole step (E) a bar is the wall time. For the other
workloads it is the time in a CUDA graph, else the device's time, else the wall time. All variants
of a workload in all files are drawn. The "source" of records that have one is named below the
chart.

With `--runs` it draws finished runs instead, each below its picture named by its prompt and by the
label of its group, such as "2 CPU cores"; runs of one prompt stand beside each other. An --out that
ends in .gif turns them all.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

RESULTS = Path(__file__).parent / "results"
WORKLOADS = {
    "E-lambertian-64": "whole step with normals, 64 x 64",
    "E-lambertian-256": "with normals, 256 x 256",
    "E-lambertian-512": "with normals, 512 x 512",
    "E-albedo-64": "whole step without normals, 64 x 64",
    "E-albedo-512": "without normals, 512 x 512",
    "D-normal-backward-256k": "field, normals, second order, 2^18 points",
    "D-forward-backward-256k": "field, forward and backward",
    "D-normal-256k": "field, value and normal",
    "C-composite-512": "compositing both ways, 512 x 512",
    "B-march-64": "marching, 64 x 64",
    "B-march-512": "marching, 512 x 512",
    "A-forward-rays-1m": "hash grid, forward, 2^20 points",
    "A-backward-rays-1m": "hash grid, backward",
}
OURS, PLAIN, PEER = (31, 119, 180), (170, 170, 170), (230, 150, 80)
WIDTH, LEFT, RIGHT, BAR, GAP = 1200, 330, 330, 17, 16  # pixels
SKIPPED = ("torch reference", "dfast eager")
COLUMNS = 4
"""Runs beside each other in a gallery."""


def milliseconds(record: dict) -> float | None:
    """Return the time of a record that is drawn, None if it has none."""
    keys = ("captured_ms", "gpu_ms", "wall_ms")
    if record["workload"].startswith("E-"):
        keys = ("wall_ms", "captured_ms", "gpu_ms")
    return next((record[key] for key in keys if record.get(key)), None)


def rows(records: Sequence[dict]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return (workload, [(variant, ms), ...] fastest first) for each of `WORKLOADS` measured."""
    found: dict[str, dict[str, float]] = {}
    for record in records:
        ms = milliseconds(record)
        if ms and record["variant"] not in SKIPPED:
            # A whole step is compared by its wall time, the rest by the device's where it is known.
            part = not record["workload"].startswith("E-")
            host = part and not (record.get("captured_ms") or record.get("gpu_ms"))
            name = f"{record['variant']} (wall)" if host else record["variant"]
            found.setdefault(record["workload"], {})[name] = ms
    ordered = (name for name in WORKLOADS if name in found)
    return [(name, sorted(found[name].items(), key=lambda item: item[1])) for name in ordered]


def color(variant: str) -> tuple[int, int, int]:
    """Return the colour of dfast, plain torch or a peer."""
    return OURS if variant.startswith("dfast") else PLAIN if variant.startswith("torch ") else PEER


def notes(records: Sequence[dict]) -> list[str]:
    """Return where the numbers come from, one line a machine and source."""
    lines: dict[str, None] = {}
    for r in records:
        where = r.get("gpu") or r.get("processor")
        line = f"{where}, torch {r['torch']}, {r['date']}"
        who = "the others" if "source" in r else f"dfast ({r.get('commit')})"
        lines[f"{who}: {line}{'; ' + r['source'] if 'source' in r else ''}"] = None
    return list(lines)


def draw_chart(records: Sequence[dict]) -> Image.Image:
    """Draw the comparison.

    Raises:
        ValueError: if no record is of a workload in `WORKLOADS`.
    """
    groups = rows(records)
    if not groups:
        raise ValueError("expected records of at least one workload of the chart, got none")
    every = [ms for _, bars in groups for _, ms in bars]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)) + 1e-9)
    high = max(high, low + 1)
    below = notes(records)
    body = sum(len(bars) * BAR + GAP for _, bars in groups)
    height = 60 + body + 30 + 20 * len(below)
    image = Image.new("RGB", (WIDTH, height), "white")
    canvas, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    span = WIDTH - LEFT - RIGHT

    def across(ms: float) -> float:
        """Return the x coordinate of a time."""
        return LEFT + span * (math.log10(ms) - low) / (high - low)

    canvas.text((LEFT, 12), "milliseconds, logarithmic: shorter is faster", "black", font)
    for power in range(low, high + 1):
        x = across(10.0**power)
        canvas.line((x, 50, x, 50 + body), (225, 225, 225))
        canvas.text((x, 34), f"{10.0**power:g}", (90, 90, 90), font, anchor="ma")
    y = 56
    for name, bars in groups:
        canvas.text((LEFT - 12, y), WORKLOADS[name], "black", font, anchor="ra")
        for variant, ms in bars:
            end = max(across(ms), LEFT + 2)
            canvas.rectangle((LEFT, y, end, y + BAR - 3), color(variant))
            canvas.text((end + 6, y - 1), f"{ms:.3g}  {variant}", (60, 60, 60), font)
            y += BAR
        y += GAP
    for line in below:
        canvas.text((20, y + 10), line, (90, 90, 90), font)
        y += 20
    return image


class Gallery:
    """Finished runs beside each other, as one picture that `dfast.io.video.turntable` can turn.

    Args:
        groups: a label for each list of run folders.
    """

    def __init__(self, groups: Sequence[tuple[str, Sequence[str]]]) -> None:
        import dfast

        runs = [(dfast.load(path), label) for label, paths in groups for path in paths]
        order = list(dict.fromkeys(result.prompt for result, _ in runs))
        self.runs = sorted(runs, key=lambda run: order.index(run[0].prompt))
        self.columns = min(len(runs), COLUMNS)

    def render(self, *, resolution: int, **view: Any) -> NDArray[np.uint8]:
        """Return all runs from one side, [H, W, 3]; arguments as of `Result.render`."""
        font, high = ImageFont.load_default(max(resolution // 19, 8)), resolution + resolution // 5
        rows = -(-len(self.runs) // self.columns)
        image = Image.new("RGB", (self.columns * resolution, rows * high), "white")
        canvas = ImageDraw.Draw(image)
        for n, (result, label) in enumerate(self.runs):
            x, y = n % self.columns * resolution, n // self.columns * high
            picture = result.render(resolution=resolution, **view)
            image.paste(Image.fromarray(picture), (x, y))
            middle, below = x + resolution // 2, y + resolution + resolution // 40
            canvas.text((middle, below), result.prompt, "black", font, anchor="ma")
            lower = below + resolution // 13
            canvas.text((middle, lower), label, (110, 110, 110), font, anchor="ma")
        return np.asarray(image)


def draw_runs(groups: Sequence[Sequence[str]], out: Path, resolution: int) -> None:
    """Draw finished runs as an image, or as a film that turns them.

    Args:
        groups: lists of a label and run folders.
        out: an image file, or a .gif.
        resolution: pixels a side of each run.
    """
    from dfast.io.images import save_image
    from dfast.io.video import turntable

    gallery = Gallery([(label, paths) for label, *paths in groups])
    if out.suffix == ".gif":
        turntable(gallery, out, resolution=resolution)
    else:
        view = {"azimuth": 30.0, "elevation": 20.0, "shading": "studio"}
        save_image(gallery.render(resolution=resolution, **view), out)


def main(argv: Sequence[str] | None = None) -> None:
    """Read records, draw them, write the image."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("files", nargs="*", type=Path, metavar="FILE")
    options.add_argument("--runs", nargs="+", action="append", metavar=("LABEL", "RUN"))
    options.add_argument("--resolution", type=int, default=256, help="pixels a side of each run")
    options.add_argument("--out", type=Path, default=RESULTS / "comparison.png")
    chosen = options.parse_args(argv)
    if bool(chosen.files) == bool(chosen.runs):
        options.error("expected files of `dfast bench`, or --runs")
    if chosen.runs:
        if not all(len(group) > 1 for group in chosen.runs):
            options.error("--runs: expected a label, and run folders after it")
        draw_runs(chosen.runs, chosen.out, chosen.resolution)
        print(chosen.out)
        return
    records = [r for path in chosen.files for r in json.loads(path.read_text(encoding="utf-8"))]
    draw_chart(records).save(chosen.out)
    print(chosen.out)


if __name__ == "__main__":
    main()
