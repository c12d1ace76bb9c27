"""Textures as PNG files."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Return an image [H, W, 3] as a PNG file."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=4)
    return buffer.getvalue()
