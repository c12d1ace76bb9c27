"""The report of a run: one page with pictures, curves, settings, versions, times and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from dfast.pages.curves import charts
from dfast.pages.html import page, picture, section, table
from dfast.pages.object3d import object_frame

CURVES = {
    "opacity": "mean opacity",
    "fill": "opacity inside the bounding sphere",
    "guidance": "guidance gradient, RMS",
    "gradient_norm": "gradient norm",
    "samples": "samples a step",
    "seconds_per_step": "seconds a step, mean so far",
}
"""Metrics that are drawn, and their titles."""


@dataclass(frozen=True)
class Picture:
    """An image file with what it shows."""

    data: bytes
    """Content of the file."""
    kind: str
    """Its media type."""
    says: str
    """What can be seen."""


@dataclass(frozen=True)
class Facts:
    """All that a report shows. What is empty is left out."""

    prompt: str
    run: Sequence[tuple[str, object]] = ()
    """Names and values: prior, seed, steps and so on."""
    times: Sequence[tuple[str, object]] = ()
    """Names and times."""
    versions: Sequence[tuple[str, object]] = ()
    """Names and versions."""
    scores: Sequence[tuple[str, object]] = ()
    """Names and scores against the true object."""
    pictures: Sequence[Picture] = ()
    """Of the finished object."""
    previews: Sequence[Picture] = ()
    """Of the object on its way, oldest first."""
    glb: bytes | None = None
    """The object as a GLB file."""
    metrics: Sequence[Mapping[str, float]] = field(default=())
    """Numbers of steps, with "step" among them."""
    settings: str = ""
    """All settings as TOML."""


def report_page(facts: Facts) -> str:
    """Return the report as a page that needs no other file and no network.

    Args:
        facts: what it shows.
    """
    shown = "".join(_figure(p, says=False) for p in facts.pictures)
    turning = (
        f'<div class="turning">{object_frame(facts.glb, facts.prompt)}</div>' if facts.glb else ""
    )
    steps = "".join(_figure(p, says=True) for p in facts.previews)
    tables = (
        ("Scores", facts.scores),
        ("Run", facts.run),
        ("Time", facts.times),
        ("Versions", facts.versions),
    )
    told = "".join(f"<div>{section(title, table(rows))}</div>" for title, rows in tables if rows)
    settings = f"<pre>{escape(facts.settings)}</pre>" if facts.settings else ""
    return page(
        facts.prompt,
        f"<h1>{escape(facts.prompt)}</h1>"
        f'<p class="soft">A 3D object that dfast made from this sentence.</p>'
        + section(
            "The object", f'<div class="row">{turning}{shown}</div>' if turning + shown else ""
        )
        + section("Curves", charts(facts.metrics, CURVES, "step"))
        + section("During training", f'<div class="row">{steps}</div>' if steps else "")
        + f'<div class="row">{told}</div>'
        + section(
            "Settings",
            f"<details><summary>all of them</summary>{settings}</details>" * bool(settings),
        ),
    )


def _figure(shown: Picture, *, says: bool) -> str:
    """Return a picture, with what it shows below it if wanted."""
    below = f"<figcaption>{escape(shown.says)}</figcaption>" if says else ""
    return f"<figure>{picture(shown.data, shown.kind, shown.says)}{below}</figure>"
