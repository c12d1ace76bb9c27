"""dfast's native operations as PyTorch custom ops: one module an op."""

from .composite import composite
from .hashgrid import GridSpec, hash_encode, hash_encode_grad
from .march import Samples, march
from .shade import shade

__all__ = [
    "GridSpec",
    "Samples",
    "composite",
    "hash_encode",
    "hash_encode_grad",
    "march",
    "shade",
]
