"""Files and pictures: atomic writes, safetensors, images, turntables."""

from dfast.io.images import contact_sheet, save_image
from dfast.io.video import turntable

__all__ = ["contact_sheet", "save_image", "turntable"]
