"""Refine stages of seconds: a tiny trained field, tiny settings and an analytic prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oracle import OraclePrior
from tiny_runs import TINY, train_tiny

from dfast.runs.refine import refine
from dfast.runs.refined import Refined
from dfast.runs.result import Result

COARSE = TINY.replace(
    train={"steps": 25, "preview_every": 0, "checkpoint_every": 0, "average_from": 1.0},
    refine={"steps": 4, "resolution": 20, "grid": 16, "faces": 300, "texture": 32},
)
"""Of a run whose field has a surface, and of the stage after it."""
STAGE: dict[str, Any] = {
    "train": {"log_every": 2, "preview_every": 2, "checkpoint_every": 0, "average_from": 0.5}
}
"""Settings that the stage has of its own."""


def coarse_run(out: Path | None = None) -> Result:
    """Return the field of a short run."""
    return train_tiny(out=out, config=COARSE)


def refine_tiny(run: Result | Path | None, **options: Any) -> Refined:
    """Refine on the CPU without a bar, with an `OraclePrior` unless options differ."""
    defaults: dict[str, Any] = {
        "prior": OraclePrior(12),
        "device": "cpu",
        "config": STAGE,
        "progress": False,
    }
    return refine(run, **defaults | options)
