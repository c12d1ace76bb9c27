"""dfast's native operations as PyTorch custom operators, one module for each.

All of them work with autograd, torch.compile, `torch.func` transforms (first order), forward mode
and autocast, or refuse in one line; see `dfast.ops.transforms`.
"""

from dfast.ops import hashgrid_derivatives as hashgrid_derivatives
from dfast.ops.antialias import antialias, half_edge_twins
from dfast.ops.attention import attention
from dfast.ops.bitfield import pack_bits, unpack_bits
from dfast.ops.composite import composite
from dfast.ops.field import field
from dfast.ops.field_spec import FieldSample, FieldSpec
from dfast.ops.gated import geglu, merge
from dfast.ops.grid_spec import GridSpec
from dfast.ops.group_norm import group_norm
from dfast.ops.hashgrid import hash_encode, hash_encode_grad
from dfast.ops.interpolate import interpolate
from dfast.ops.layer_norm import add_layer_norm
from dfast.ops.march import Samples, march
from dfast.ops.normal_variation import normal_variation
from dfast.ops.rasterize import Raster, rasterize
from dfast.ops.rays import pixel_rays
from dfast.ops.shade import shade
from dfast.ops.shade_composite import RaySums, shade_composite
from dfast.ops.texture import mip_chain, texture
from dfast.ops.texture_level import texture_level
from dfast.ops.world import scene_distance, trace_views

__all__ = [
    "FieldSample",
    "FieldSpec",
    "GridSpec",
    "Raster",
    "RaySums",
    "Samples",
    "add_layer_norm",
    "antialias",
    "attention",
    "composite",
    "field",
    "geglu",
    "group_norm",
    "half_edge_twins",
    "hash_encode",
    "hash_encode_grad",
    "interpolate",
    "march",
    "merge",
    "mip_chain",
    "normal_variation",
    "pack_bits",
    "pixel_rays",
    "rasterize",
    "scene_distance",
    "shade",
    "shade_composite",
    "texture",
    "texture_level",
    "trace_views",
    "unpack_bits",
]
