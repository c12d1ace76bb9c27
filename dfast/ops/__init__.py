"""dfast's native operations as PyTorch custom operators, one module for each."""

from .bitfield import pack_bits, unpack_bits
from .composite import composite
from .field import field
from .field_spec import FieldSample, FieldSpec
from .gated import geglu, merge
from .grid_spec import GridSpec
from .group_norm import group_norm
from .hashgrid import hash_encode, hash_encode_grad
from .march import Samples, march
from .rays import pixel_rays
from .shade import shade
from .shade_composite import RaySums, shade_composite

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
    "pack_bits",
    "pixel_rays",
    "shade",
    "shade_composite",
    "unpack_bits",
]
