"""Diffusion models of random weights in the published sizes, for tests and benchmarks."""

from dfast.testing.random_models import write

__all__ = ["write"]
