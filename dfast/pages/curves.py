"""Curves as inline SVG, which a page shows without a script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 300, 140
"""Of a chart, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 22, 20
"""Margins of the plot in it, in pixels."""
LOG_ABOVE = 50.0
"""Largest over smallest value above which an axis of positive values is logarithmic."""
MOST_POINTS = 400
"""Points drawn of a curve, at most."""


def charts(rows: Sequence[Mapping[str, float]], names: Mapping[str, str], along: str) -> str:
    """Return a chart for each quantity that was recorded more than once.

    Args:
        rows: numbers by name, in the order of `along`.
        names: names of the quantities to draw, and what readers call them.
        along: name of the horizontal quantity, which rows without it lack.
    """
    drawn = []
    for name, title in names.items():
        points = [
            (float(row[along]), float(row[name])) for row in rows if along in row and name in row
        ]
        points = [p for p in points if math.isfinite(p[0]) and math.isfinite(p[1])]
        if len(points) > 1:
            drawn.append(chart(points, title, along))
    return f'<div class="row">{"".join(drawn)}</div>' if drawn else ""


def chart(points: Sequence[tuple[float, float]], title: str, along: str) -> str:
    """Return one curve with its axes.

    Args:
        points: (horizontal, vertical), finite, two at the least.
        title: what is drawn, plain text.
        along: what the horizontal axis is, plain text.
    """
    points = points[:: max(1, len(points) // MOST_POINTS)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    log = low > 0 and high / low > LOG_ABOVE
    heights = [math.log10(y) for y in ys] if log else ys
    across, up = _scale(xs, LEFT, WIDTH - RIGHT), _scale(heights, HEIGHT - BOTTOM, TOP)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))
    edge, floor = LEFT - 4, HEIGHT - BOTTOM
    kind = ", logarithmic" if log else ""
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)} from {ys[0]:.3g} to {ys[-1]:.3g}">'
        f'<text x="{LEFT}" y="13">{escape(title)}{kind}</text>'
        f'<text x="{edge}" y="{TOP + 9}" text-anchor="end">{_short(high)}</text>'
        f'<text x="{edge}" y="{floor}" text-anchor="end">{_short(low)}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 5}">{escape(along)} {xs[0]:g}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{xs[-1]:g}</text>'
        f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="#8886"/>'
        f'<polyline points="{path}" fill="none" stroke="#1f77b4" stroke-width="1.5"/></svg>'
    )


def _short(value: float) -> str:
    """Return a value in few characters."""
    return f"{value / 1e3:.3g}k" if 1e4 <= abs(value) < 1e6 else f"{value:.3g}"


def _scale(values: Sequence[float], start: float, end: float) -> list[float]:
    """Return values as coordinates: the least at `start`, the largest at `end`."""
    low, span = min(values), max(values) - min(values)
    return [start + (end - start) * ((v - low) / span if span else 0.5) for v in values]
