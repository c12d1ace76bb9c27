"""Costs of the workloads, rates, the table and the picture."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import train_tiny

from dfast.bench import counts, inputs, report
from dfast.bench.case import DFAST, EAGER, GATHERED, REFERENCE
from dfast.ops.grid_spec import GridSpec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_counts() -> None:
    assert counts.mlp_flops(32, 64, 2) == 12_800
    one = GridSpec(1, 2, 4, 2, 2)
    assert counts.encode(1, one) == (3 * 4 + 2 * 4 + 16 * 2, 32)
    assert counts.adam(10).bytes == 340
    both = counts.Cost(1, 2) + counts.Cost(3, 4)
    assert both == (4, 6)
    sizes = {"points": 100, "grid": inputs.GRID, "width": 64, "layers": 2}
    value = counts.field(**sizes, normal=False, backward=False)
    second = counts.field(**sizes, normal=True, backward=True)
    assert second.flops > 5 * value.flops and second.bytes > value.bytes


def test_rates_are_of_the_time_that_counts() -> None:
    record = {"wall_ms": 4.0, "gpu_ms": 3.0, "captured_ms": 2.0, "bytes": 2_000_000, "flops": 10**9}
    assert report.rates(record) == (1.0, 0.5)
    assert report.rates({**record, "captured_ms": None, "gpu_ms": None}) == (0.5, 0.25)
    assert report.rates({"error": "x"}) is None
    best = {"float16_tflop_s": 10.0, "bfloat16_tflop_s": 20.0, "copy_gb_s": 1.0}
    assert report.floor_ms({**record, "ceilings": best}) == 2.0  # bytes; operations take 0.05
    assert report.floor_ms({**record, "ceilings": {**best, "copy_gb_s": 1e3}}) == 0.05


def test_table() -> None:
    best = {"ceilings": {"float16_tflop_s": 10.0, "copy_gb_s": 100.0}}
    records = [
        {
            "workload": "E-x-64",
            "variant": DFAST,
            "captured_ms": 0.5,
            "wall_ms": 0.6,
            "launches": 12,
            "syncs": 0,
            "peak_mib": 3.4,
            "gb_s": 50.0,
            "tflop_s": 1.0,
            **best,
        },
        {"workload": "E-x-64", "variant": EAGER, "wall_ms": 0.8},
        {"workload": "E-x-64", "variant": REFERENCE, "wall_ms": 50.0},
        {"workload": "E-x-64", "variant": GATHERED, "wall_ms": 5.0},
        {"workload": "E-x-64", "variant": "nerfacc", "wall_ms": 7.0, "gpu_ms": 2.0},
        {"workload": "F-z", "variant": "diffusers", "wall_ms": 8.0, "gpu_ms": None},
        {"workload": "E-y-64", "variant": DFAST, "error": "RuntimeError: no"},
    ]
    text = report.table(records)
    row = next(line for line in text.splitlines() if line.startswith("  E-x-64"))
    assert row.split() == [
        "E-x-64",
        "0.5",
        "0.8",
        "5",
        "50",
        "10.0x",
        "50",
        "(50%)",
        "1",
        "(10%)",
        "12",
        "3",
    ]
    assert "E-x-64  nerfacc: 7 ms, on the device 2 ms" in text
    assert "  F-z  diffusers: 8 ms\n" in text + "\n"
    assert "E-y-64, dfast: failed: RuntimeError: no" in text


@pytest.fixture
def draw() -> Any:
    """The script benchmarks/draw.py as a module."""
    if not BENCHMARKS.exists():
        pytest.skip("benchmarks/ is not beside the tests")
    spec = importlib.util.spec_from_file_location("draw", BENCHMARKS / "draw.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("needs_native")
def test_runs_are_drawn_beside_each_other_by_prompt(draw: Any, tmp_path: Path) -> None:
    for name, prompt in (("a", "a ball"), ("b", "a cube"), ("c", "a ball")):
        train_tiny(prompt, out=tmp_path / name, steps=1)
    a, b, c = (str(tmp_path / name) for name in "abc")
    lines = ["--runs", "one CPU", a, b, "--runs", "a GPU", c, "--resolution", "40"]
    draw.main([*lines, "--out", str(tmp_path / "runs.png")])
    draw.main([*lines, "--out", str(tmp_path / "runs.gif")])
    with Image.open(tmp_path / "runs.png") as image:
        assert image.size == (120, 48)
        names = np.asarray(image)[40:]
    assert all((names[:, i : i + 40] < 128).any() for i in (0, 40, 80))
    gallery = draw.Gallery([("one CPU", [a, b]), ("a GPU", [c])])
    labels = [(result.prompt, label) for result, label in gallery.runs]
    assert labels == [("a ball", "one CPU"), ("a ball", "a GPU"), ("a cube", "one CPU")]
    with Image.open(tmp_path / "runs.gif") as film:
        assert film.n_frames == 36 and film.size == (120, 48)
    with pytest.raises(SystemExit):
        draw.main(["--runs", "a label alone"])
    with pytest.raises(SystemExit):
        draw.main([])


def test_the_comparison_is_drawn(draw: Any, tmp_path: Path) -> None:
    about = {"gpu": "X", "torch": "2", "date": "2026-01-01", "commit": "abc"}
    mine = tmp_path / "mine.json"
    mine.write_text(
        json.dumps(
            [
                {
                    "workload": "E-lambertian-64",
                    "variant": "dfast",
                    "wall_ms": 0.4,
                    "captured_ms": 0.3,
                    **about,
                },
                {"workload": "E-lambertian-64", "variant": "dfast", "error": "x", **about},
            ]
        )
    )
    others = BENCHMARKS / "results" / "peers-nvidia-h200.json"
    records = json.loads(mine.read_text()) + json.loads(others.read_text())
    groups = dict(draw.rows(records))
    assert groups["E-lambertian-64"][:2] == [("dfast", 0.4), ("nerfacc + tcnn", 7.834)]
    assert ("torch-ngp (wall)", 0.402) in groups["B-march-64"]
    draw.main([str(mine), str(others), "--out", str(tmp_path / "c.png")])
    with Image.open(tmp_path / "c.png") as image:
        colors = {color for _, color in image.getcolors(maxcolors=1 << 20)}
    assert {draw.OURS, draw.PEER} <= colors
