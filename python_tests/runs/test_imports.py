"""What a run and its files import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import sys, torch, dfast
torch.set_num_threads(1)
result = dfast.train("a red chair", out=None, progress=False, device="cpu", config={
    "field": {"grid": {"levels": 3, "log2_entries": 10}, "hidden": 8},
    "occupancy": {"resolution": 16}, "march": {"step_size": 0.1},
    "train": {"steps": 2, "preview_every": 0}, "camera": {"views": 1, "resolution": [[0.0, 8]]}})
assert result.render(resolution=16).shape == (16, 16, 3)
assert len(result.mesh(sys.argv[1], resolution=32, faces=500, texture=64).faces)
from dfast.world import build_scene, read
chair = build_scene(read("a red chair").sentence)
assert bool(chair.occupancy(torch.zeros(1, 3) - 0.05).any())  # as scores ask
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


@pytest.mark.usefixtures("needs_native")
def test_a_run_a_picture_an_export_and_a_true_object_import_no_compiler(tmp_path: Path) -> None:
    """dynamo takes a second or more, and sympy, for which autograd may ask, a quarter."""
    command = [sys.executable, "-c", RUN, str(tmp_path / "chair.glb")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
