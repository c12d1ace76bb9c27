"""Runs of seconds: tiny settings and an analytic prior."""

from __future__ import annotations

from typing import Any

from oracle import OraclePrior

from dfast.config import Config
from dfast.runs.result import Result
from dfast.runs.train import train

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 4, "log_every": 2, "preview_every": 2, "checkpoint_every": 2},
)


def train_tiny(prompt: str = "a ball", **options: Any) -> Result:
    """Train on the CPU without a bar, with `TINY` and an `OraclePrior` unless options differ."""
    defaults: dict[str, Any] = {
        "prior": OraclePrior(12),
        "device": "cpu",
        "config": TINY,
        "progress": False,
    }
    return train(prompt, **defaults | options)
