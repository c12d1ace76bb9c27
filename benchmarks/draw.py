"""Draw dfast beside the packages it is compared with, from the files that `dfast bench` wrote.

    python benchmarks/draw.py FILE.json [MORE.json ...] [--out benchmarks/results/comparison.png]

Bars are logarithmic, shorter is faster. For a whole step (E) a bar is the wall time. For the other
workloads it is the time in a CUDA graph, else the device's time, else the wall time. All variants
of a workload in all files are drawn. The "source" of records that have one is named below the
chart.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

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


def main(argv: Sequence[str] | None = None) -> None:
    """Read records, draw them, write the image."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options.add_argument("--out", type=Path, default=RESULTS / "comparison.png")
    chosen = options.parse_args(argv)
    records = [r for path in chosen.files for r in json.loads(path.read_text(encoding="utf-8"))]
    draw_chart(records).save(chosen.out)
    print(chosen.out)


if __name__ == "__main__":
    main()
