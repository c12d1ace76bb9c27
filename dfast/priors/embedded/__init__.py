"""The prior in the package, a small diffusion model of the procedural world.

Its networks and weights are here, `training` makes and measures them.
"""

from dfast.priors.embedded.prior import WEIGHTS, ShapesCondition, ShapesPrior

__all__ = ["WEIGHTS", "ShapesCondition", "ShapesPrior"]
