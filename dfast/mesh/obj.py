"""Write a mesh as a Wavefront OBJ file, with its material and its textures beside it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfast._files import replacing
from dfast.io.exporting import exporting
from dfast.io.images import encode_png
from dfast.mesh.placing import Placed
from dfast.mesh.texture import Image, Texture


def write_obj(path: Path, mesh: Placed) -> None:
    """Write NAME.obj; for a textured mesh also NAME.mtl, NAME_color.png and others.

    The OBJ file is written last, so that whoever sees it finds the others. Without textures each
    vertex line ends in its colour, which many programs read.

    Args:
        path: the .obj file.
        mesh: in the axes and unit of the format.

    Raises:
        ExportError: a file cannot be written.
    """
    name = _in_files(path.stem)
    texture = mesh.texture
    lines = ["# y up, front +z, metres"]
    if texture is None:
        lines += _rows("v", np.concatenate([mesh.vertices, mesh.colors], 1))
        lines += _rows("vn", mesh.normals)
        corners, form = [mesh.faces, mesh.faces], "f %d//%d %d//%d %d//%d"
    else:
        uv = texture.atlas.uv * (1, -1) + (0, 1)  # from the bottom left corner
        lines += [f"mtllib {name}.mtl", *_rows("v", mesh.vertices), *_rows("vt", uv)]
        lines += [*_rows("vn", mesh.normals), "usemtl surface"]
        corners = [mesh.faces, texture.atlas.faces, mesh.faces]
        form = "f %d/%d/%d %d/%d/%d %d/%d/%d"
    index = np.stack(corners, 2).reshape(len(mesh.faces), -1) + 1
    lines += [form % tuple(row) for row in index.tolist()]
    with exporting(path) as temporary:
        if texture is not None:
            images = _images(texture)
            for what, image in images.items():
                _write_beside(path, f"{name}_{what}.png", encode_png(image))
            _write_beside(path, f"{name}.mtl", _material(name, images).encode())
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _in_files(stem: str) -> str:
    """Return the name of companions: names in these files end at a space.

    Where that changes the name of the mesh, a digest keeps it apart from that of another mesh.
    """
    plain = re.sub(r"[^\w.-]", "_", stem)
    if plain == stem:
        return plain
    return f"{plain}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:6]}"


def _images(texture: Texture) -> dict[str, Image]:
    """Return the images of a texture; roughness and metalness have one each."""
    images = texture.images()
    if (material := images.pop("material", None)) is not None:
        for channel, what in ((1, "roughness"), (2, "metallic")):
            images[what] = np.repeat(material[..., channel : channel + 1], 3, 2)
    return images


def _write_beside(path: Path, name: str, data: bytes) -> None:
    """Write a file into the folder of another, atomically."""
    with replacing(path.with_name(name)) as temporary:
        temporary.write_bytes(data)


def _rows(keyword: str, values: NDArray[np.floating]) -> list[str]:
    """Return a line for each row of values [N, C]."""
    form = keyword + " %.7g" * values.shape[1]
    return [form % tuple(row) for row in values.tolist()]


KEYWORDS = {"color": "map_Kd", "normal": "norm", "roughness": "map_Pr", "metallic": "map_Pm"}
"""Of the images in a material file."""


def _material(name: str, images: Iterable[str]) -> str:
    """Return the material file, with the keywords of old and of PBR readers."""
    return "\n".join(
        [
            "newmtl surface",
            "Ka 0 0 0",
            "Kd 1 1 1",
            "Ks 0 0 0",
            "Pr 1",
            "Pm 0",
            "illum 1",
            *(f"{KEYWORDS[what]} {name}_{what}.png" for what in images),
            "",
        ]
    )
