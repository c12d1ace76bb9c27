"""dfast's native operations in plain PyTorch: the specification, and the oracle of the tests.

Every function has the name, arguments and results of its operator in ``dfast.ops`` and runs on any
device in any floating dtype. These are written to be read, not to be fast; their gradients come
from autograd.
"""

from dfast.reference.adam import adam_step, gradient_norm
from dfast.reference.field import blob, field, hash_encode, hash_encode_grad
from dfast.reference.images import normal_variation
from dfast.reference.meshes import antialias, interpolate, rasterize, texture
from dfast.reference.networks import add_layer_norm, attention, geglu, group_norm, merge
from dfast.reference.occupancy import occupancy_points, occupancy_update
from dfast.reference.rendering import composite, march, shade, shade_composite

__all__ = [
    "adam_step",
    "add_layer_norm",
    "antialias",
    "attention",
    "blob",
    "composite",
    "field",
    "geglu",
    "gradient_norm",
    "group_norm",
    "hash_encode",
    "hash_encode_grad",
    "interpolate",
    "march",
    "merge",
    "normal_variation",
    "occupancy_points",
    "occupancy_update",
    "rasterize",
    "shade",
    "shade_composite",
    "texture",
]
