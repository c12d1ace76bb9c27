"""Networks of diffusers tuned in place: fused normalisation, gates and attention projections."""

from dfast.priors.fused.tune import tune

__all__ = ["tune"]
