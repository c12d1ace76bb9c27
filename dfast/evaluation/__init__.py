"""Scores of results against the ground truth of the procedural world."""

from dfast.evaluation.score import EmptyField, score
from dfast.evaluation.scorecard import PartScore, Score

__all__ = ["EmptyField", "PartScore", "Score", "score"]
