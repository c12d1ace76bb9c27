"""Files and pictures: atomic writes, safetensors, images, turntable videos."""

from dfast.io.images import contact_sheet, encode_png, preview_image, save_image
from dfast.io.tensors import read_tensors, write_bytes, write_tensors
from dfast.io.video import turntable

__all__ = [
    "contact_sheet",
    "encode_png",
    "preview_image",
    "read_tensors",
    "save_image",
    "turntable",
    "write_bytes",
    "write_tensors",
]
