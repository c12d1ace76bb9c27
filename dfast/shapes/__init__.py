"""The procedural world: sentences, their true 3D objects, the training of the embedded prior."""

from .grammar import catalogue, parse
from .world import Scene

__all__ = ["Scene", "catalogue", "parse"]
