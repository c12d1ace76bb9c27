"""Settings of steps that take milliseconds, for every kind of field."""

from __future__ import annotations

from typing import Any

from dfast.config import Config

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 16},
    occupancy={"resolution": 16, "every": 3, "warmup_steps": 6},
    march={"step_size": 0.05},
    shading={"ambient_only": 0.0},
    camera={"views": 2, "resolution": [[0.0, 16]]},
    train={"steps": 40, "log_every": 1000},
)
PARTS = [
    {"name": name, "prompt": f"a {name}", "position": [0.0, y, 0.0], "size": 0.45}
    for name, y in (("cube", -0.5), ("ball", 0.5))
]
IPE = {"frequencies": 4, "directions": "axes", "width": 16, "blocks": 1}
FIELDS: dict[str, dict[str, Any]] = {
    "hash": {},
    "finite": {"field": {"normals": "finite"}},
    "ipe": {"field": {"kind": "ipe", "ipe": IPE}},
    "layout": {"layout": {"prompt": "x", "parts": PARTS}},
}
"""Changes of `TINY`: every field, and every way of its normals."""
