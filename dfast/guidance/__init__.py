"""From rendered images to the gradient that a prior sends back: SDS and its variants."""

from dfast.guidance.diffusion import Guidance

__all__ = ["Guidance"]
