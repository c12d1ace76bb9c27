"""The procedural world: sentences, their true 3D objects, the training of the embedded prior."""

from dfast.world.grammar import catalogue, parse
from dfast.world.scenes import ProceduralScene

__all__ = ["ProceduralScene", "catalogue", "parse"]
