"""dfast's native operations as PyTorch custom ops: one module an op."""

from dfast.ops.composite import composite
from dfast.ops.field import FieldSample, FieldSpec, field
from dfast.ops.gated import geglu, merge
from dfast.ops.group_norm import group_norm
from dfast.ops.hashgrid import GridSpec, hash_encode, hash_encode_grad
from dfast.ops.march import Samples, march
from dfast.ops.rays import pixel_rays
from dfast.ops.shade import shade
from dfast.ops.shade_composite import RaySums, shade_composite

__all__ = [
    "FieldSample",
    "FieldSpec",
    "GridSpec",
    "RaySums",
    "Samples",
    "composite",
    "field",
    "geglu",
    "group_norm",
    "hash_encode",
    "hash_encode_grad",
    "march",
    "merge",
    "pixel_rays",
    "shade",
    "shade_composite",
]
