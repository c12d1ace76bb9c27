"""From run folders to numbers: the procedural world's, those of CLIPs, and the time.

What a CLIP says of a run is kept beside the runs with a key of everything that it depends on, so
that a comparison that goes on measures only what is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dfast._files import replacing
from dfast._version import __version__
from dfast.batches.state import Status
from dfast.clip import ClipEncoder
from dfast.evaluation.clip_score import RETRIEVAL, Subject, score_with_clips
from dfast.evaluation.clip_views import DREAMFUSION_COLOR, DREAMFUSION_GEOMETRY, views_of_scene
from dfast.evaluation.score import EmptyField, score
from dfast.reproduction.truth import truth_images
from dfast.runs.exports import SCORES
from dfast.runs.result import Result

METRICS = ("r-precision",)
"""Of `dfast.evaluation.clip_score`."""
FOLDER = "clip"
"""Where what CLIPs said is kept."""


def seconds_of(status: Status) -> dict[str, float]:
    """Return how long the steps of a finished run took, {} where it is not known.

    Args:
        status: the run.
    """
    pace = status.metrics.get("seconds_per_step")
    return {} if pace is None else {"seconds": pace * status.steps}


def world_numbers(folder: Path, status: Status) -> dict[str, float]:
    """Return the scores of a run against the procedural world.

    Args:
        folder: the run's; it holds the scores of a run that is done.
        status: the run; one that failed is scored as an empty scene.
    """
    if status.state == "failed":
        found: dict[str, Any] = asdict(score(EmptyField(), status.prompt, seed=status.seed))
    else:
        found = json.loads((folder / SCORES).read_bytes())["scores"][0]
    surface = found.get("surface") or {}
    numbers = {key: found.get(key) for key in ("iou", "colors", "front")}
    numbers["normals"] = surface.get("normals")
    return {key: float(value) for key, value in numbers.items() if value is not None}


class ClipJudges:
    """CLIPs that score runs, and remember what they said.

    Args:
        clips: the CLIPs.
        choices: prompts among which objects are retrieved, those of the objects included.
        folder: of the comparison; answers are kept in it.
        device: where runs are rendered.
    """

    def __init__(
        self, clips: Sequence[ClipEncoder], choices: Sequence[str], folder: Path, device: str
    ) -> None:
        self.clips, self.choices = tuple(clips), tuple(choices)
        self._kept, self._device = folder / FOLDER, device

    @cached_property
    def views(self) -> list[dict[str, Any]]:
        """What is said of the views."""
        return [views.about() for views in (DREAMFUSION_COLOR, DREAMFUSION_GEOMETRY)]

    def numbers(self, name: str, status: Status, result: Path) -> dict[str, float]:
        """Return R-Precision by each CLIP; 0 for a run that failed.

        Args:
            name: of the run.
            status: the run.
            result: its file.
        """
        if status.state == "failed":
            pairs = ((clip.name, kind) for clip in self.clips for kind in ("color", "geo"))
            return {f"R {kind} {clip}": 0.0 for clip, kind in pairs}
        key = self._key(status.prompt, result)
        kept = self._kept / f"{name}.json"
        with suppress(OSError, ValueError, LookupError, TypeError):
            found = json.loads(kept.read_bytes())
            if found["key"] == key:
                return {str(k): float(v) for k, v in found["numbers"].items()}
        numbers = self._measure(name, status, result)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps({"key": key, "numbers": numbers}, indent=1) + "\n")
        return numbers

    def truth(self, prompt: str) -> dict[str, float]:
        """Return R-Precision of exact images of what a prompt of the procedural world means.

        Args:
            prompt: a sentence of the world.
        """
        render = partial(truth_images, prompt, self._device)
        return self._ask(Subject("truth", prompt, "truth", None, render))

    def _measure(self, name: str, status: Status, result: Path) -> dict[str, float]:
        """Render a run, and ask."""
        loaded = Result.load(result, self._device)
        render = partial(views_of_scene, loaded.scene, loaded.config.march)
        return self._ask(Subject(name, status.prompt, "run", status.seed, render))

    def _ask(self, subject: Subject) -> dict[str, float]:
        """Return R-Precision of an object by each CLIP."""
        scores = next(score_with_clips([subject], self.clips, self.choices, METRICS))
        views = {"color": DREAMFUSION_COLOR.name, "geo": DREAMFUSION_GEOMETRY.name}
        return {
            f"R {kind} {found.clip}": found.r_precision[name]
            for found in scores
            for kind, name in views.items()
        }

    def _key(self, prompt: str, result: Path) -> str:
        """Return a digest of all that the numbers depend on."""
        about = {
            "dfast": __version__,
            "prompt": prompt,
            "result": hashlib.sha256(result.read_bytes()).hexdigest(),
            "clips": [clip.about() for clip in self.clips],
            "views": [views.about() for views in RETRIEVAL],
            "choices": list(self.choices),
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
