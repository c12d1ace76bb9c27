"""Scores of results against the truth of the procedural world, and of any object by a CLIP."""

from dfast.evaluation.score import EmptyField, score
from dfast.evaluation.scorecard import PartScore, Score

__all__ = ["EmptyField", "PartScore", "Score", "score"]
