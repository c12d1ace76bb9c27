"""Diffusion models with random weights, for tests and benchmarks."""

from dfast.testing.model_sizes import FAMILIES, PARAMETERS, Networks, networks
from dfast.testing.random_models import materialize, write
from dfast.testing.random_transformers import write_transformer

__all__ = [
    "FAMILIES", "PARAMETERS", "Networks", "materialize", "networks", "write", "write_transformer",
]  # fmt: skip
