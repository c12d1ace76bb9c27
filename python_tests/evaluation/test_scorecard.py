"""Scores as data and as a table."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from density_fields import SceneField, score_of_truth

from dfast.evaluation.score import score
from dfast.evaluation.scorecard import PatternScore, Score, as_dict, summary, table


def _score_of(**attributes: Any) -> Score:
    """Return a score with some attributes."""
    return dataclasses.replace(score_of_truth("a red cube"), **attributes)


def test_attributes() -> None:
    stripes = PatternScore("striped", 0.9, "striped"), PatternScore("dotted", 0.5, "none")
    scores = [_score_of(count=True, size=False), _score_of(count=False, patterns=stripes)]
    assert scores[0].attributes == ["count", "not size"] and scores[0].pattern is None
    assert scores[1].attributes == ["not count", "striped", "not dotted"]
    means = summary(scores)["all"]
    assert [means[k] for k in ("count", "size", "relation", "worn")] == [0.5, 0.0, None, None]
    assert means["pattern"] == 0.7 and means["pattern_read"] == 0.5
    text = table(scores)
    assert "not count, striped, not dotted" in text and "pattern_read" in text
    assert "worn" not in text


def test_table_and_json() -> None:
    scores = [
        score_of_truth("a red cube"),
        score(SceneField("a red cube", peak=0.0), seed=1),
    ]
    means = summary(scores)
    assert list(means) == ["alone", "all"] and means["all"]["runs"] == 2
    assert means["all"]["collapsed"] == 1 and means["all"]["top1"] == 0.5
    assert means["all"]["front"] is None
    text = table(scores)
    assert scores[1].surface is None and means["all"]["normals"] == scores[0].surface.normals
    assert "a red cube" in text and "empty collapsed" in text and "alone" in text
    stored = json.loads(json.dumps(as_dict(scores, device="cpu"), allow_nan=False))
    assert stored["device"] == "cpu" and stored["scores"][0]["parts"][0]["seen"] == "red"
