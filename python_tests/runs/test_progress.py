"""The progress bar."""

from __future__ import annotations

import io

from dfast.runs.events import Event
from dfast.runs.progress import ProgressBar


def test_progress_bar_shows_opacity_and_gradient() -> None:
    text = io.StringIO()
    bar = ProgressBar(4, done=1, file=text)
    metrics = {"opacity": 0.25, "gradient_norm": 1.5, "skipped": 2.0}
    bar(Event(2, 4, metrics))
    bar(Event(3, 4))
    bar(Event(4, 4, metrics))
    shown = text.getvalue()
    assert "opacity=0.250" in shown and "grad=1.5" in shown and "skipped=2" in shown
    assert "4/4" in shown
