"""Scores by CLIPs as data and as a table, with all that is needed to get the same numbers again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dfast._version import __version__
from dfast.evaluation.clip_metrics import Janus


@dataclass(frozen=True)
class ClipScore:
    """What one CLIP says of one object; None or missing is what was not measured."""

    object: str
    kind: str
    """"run" or "mesh" """
    prompt: str
    seed: int | None
    clip: str
    """name of the CLIP"""
    r_precision: dict[str, float] = field(default_factory=dict)
    """share of views from which the prompt is retrieved, by the name of the views"""
    similarity: float | None = None
    """mean cosine of views and prompt"""
    t3bench: float | None = None
    """T3Bench's quality, of cosines"""
    janus: Janus | None = None

    def numbers(self) -> dict[str, float]:
        """Return all that was measured as numbers, by the name of their column."""
        found = {f"R {name}": value for name, value in self.r_precision.items()}
        found |= {"similarity": self.similarity} if self.similarity is not None else {}
        found |= {"t3bench": self.t3bench} if self.t3bench is not None else {}
        if self.janus is not None:
            found |= {
                "back as front": self.janus.back_as_front,
                "views wrong": self.janus.wrong,
                "view similarity": self.janus.view_similarity,
            }
        return found


COLUMNS = {
    "R dreamfusion-color": "R color",
    "R dreamfusion-geometry": "R geo",
    "R dream-fields": "R 1view",
    "similarity": "sim",
    "t3bench": "T3",
    "back as front": "back=front",
    "views wrong": "wrong",
    "view similarity": "view sim",
}
"""Short names of the columns of the table."""


@dataclass(frozen=True)
class ClipReport:
    """The scores of some objects by some CLIPs."""

    scores: tuple[ClipScore, ...]
    clips: tuple[dict[str, Any], ...]
    """`ClipEncoder.about` of each"""
    views: tuple[dict[str, Any], ...]
    """`Views.about` of each"""
    prompts: tuple[str, ...]
    """among which objects were retrieved, as they were encoded"""

    def as_dict(self, **about: Any) -> dict[str, Any]:
        """Return everything as JSON can hold it.

        Args:
            **about: what else is known, such as the device.
        """
        return {
            "dfast": __version__,
            **about,
            "clips": list(self.clips),
            "views": list(self.views),
            "prompts": list(self.prompts),
            "means": {about["name"]: self.means(about["name"]) for about in self.clips},
            "scores": [
                asdict(score) | {"janus": score.janus and score.janus._asdict()}
                for score in self.scores
            ],
        }

    def means(self, clip: str) -> dict[str, float]:
        """Return the mean of every number over the objects.

        Args:
            clip: name of the CLIP that judged.
        """
        rows = [score.numbers() for score in self.scores if score.clip == clip]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row[name] for row in rows if name in row] for name in names}
        return {name: sum(values) / len(values) for name, values in columns.items()}

    def table(self) -> str:
        """Return the report as text."""
        lines: list[str] = []
        for about in self.clips:
            size, digest = about["image_size"], about["weights_sha256"][:12]
            revision = f", revision {about['revision']}" if about["revision"] else ""
            lines += [f"clip {about['name']}: {size} pixels, weights {digest}{revision}"]
            lines += [*self._rows(about["name"]), ""]
        if any(score.r_precision for score in self.scores):
            lines.append(
                f"R: share of views from which the prompt is retrieved among {len(self.prompts)} "
                f"(chance {1 / len(self.prompts):.3f})"
            )
        lines += [describe_views(views) for views in self.views]
        lines.append(f"dfast {__version__}")
        return "\n".join(lines)

    def _rows(self, clip: str) -> list[str]:
        """Return the rows of one CLIP, with their head and their means."""
        means = self.means(clip)
        chosen = [score for score in self.scores if score.clip == clip]
        width = max(len("object"), *(len(score.object) for score in chosen))
        heads = [COLUMNS[name] for name in means]
        rows = [f"{'object':<{width}} " + " ".join(f"{head:>10}" for head in heads)]
        for name, row in [*((s.object, s.numbers()) for s in chosen), ("mean", means)]:
            cells = (f"{row[key]:10.3f}" if key in row else f"{'-':>10}" for key in means)
            rows.append(f"{name:<{width}} {' '.join(cells)}")
        return rows


def describe_views(views: dict[str, Any]) -> str:
    """Return views in one line."""
    places = views["azimuths"]
    if isinstance(places, str):
        where = f"cameras {places}"
    else:
        heights = ", ".join(f"{height:g}" for height in dict.fromkeys(views["elevations"]))
        degrees = f" {places[0]:g}" if len(places) == 1 else ""
        where = f"{len(places)} azimuth{'s' if len(places) > 1 else degrees}, elevation {heights}"
    fovs = ", ".join(f"{fov:.3g}" for fov in views["fovs"])
    background = ", ".join(f"{value:g}" for value in views["background"])
    return (
        f"{views['name']}: {where}, distance {views['distance']:g}, view of {fovs} degrees, "
        f"{views['resolution']} pixels, {views['shading']}, background ({background})"
    )
