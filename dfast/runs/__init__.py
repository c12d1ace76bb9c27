"""A whole run: `train`, and its arguments, folder, result, events and estimate."""

from dfast.runs.arguments import resolve_config
from dfast.runs.estimate import Estimate, estimate
from dfast.runs.events import Callback, Event
from dfast.runs.folder import RunFolder
from dfast.runs.result import Result
from dfast.runs.train import train

__all__ = [
    "Callback",
    "Estimate",
    "Event",
    "Result",
    "RunFolder",
    "estimate",
    "resolve_config",
    "train",
]
