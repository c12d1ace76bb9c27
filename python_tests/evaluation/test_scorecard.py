"""Scores as data and as a table."""

from __future__ import annotations

import json

from density_fields import SceneField, score_of_truth

from dfast.evaluation.score import score
from dfast.evaluation.scorecard import as_dict, summary, table


def test_table_and_json() -> None:
    scores = [
        score_of_truth("a red cube"),
        score(SceneField("a red cube", peak=0.0), seed=1),
    ]
    means = summary(scores)
    assert list(means) == ["single", "all"] and means["all"]["runs"] == 2
    assert means["all"]["collapsed"] == 1 and means["all"]["top1"] == 0.5
    assert means["all"]["front"] is None
    text = table(scores)
    assert scores[1].surface is None and means["all"]["normals"] == scores[0].surface.normals
    assert "a red cube" in text and "empty collapsed" in text and "single" in text
    stored = json.loads(json.dumps(as_dict(scores, device="cpu"), allow_nan=False))
    assert stored["device"] == "cpu" and stored["scores"][0]["parts"][0]["seen"] == "red"
