"""The prior in the package, a small diffusion model of the procedural world.

Its network, weights, training (`train`) and measurement (`measure`) are here.
"""

from dfast.priors.embedded.prior import WEIGHTS, ShapesCondition, ShapesPrior

__all__ = ["WEIGHTS", "ShapesCondition", "ShapesPrior"]
