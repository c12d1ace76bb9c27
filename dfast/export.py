"""From a trained field to a coloured, closed triangle mesh, and to files that viewers open."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._files import replacing
from ._numbers import whole
from .errors import ExportError
from .surface import Floats, closed_surface, drop_specks
from .volume import Solid, density_grid, device_of, query, silhouette_level

if TYPE_CHECKING:
    import trimesh

FORMATS = (".glb", ".ply", ".obj", ".stl")


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in world axes (z up, front +x, right-handed), faces counterclockwise from
    outside.
    """

    vertices: Floats  # [V, 3]
    faces: NDArray[np.int64]  # [F, 3]
    colors: Floats  # [V, 3] display RGB in [0, 1]
    level: float
    """The density whose level set this is."""

    def normals(self) -> Floats:
        """Area-weighted unit normals at the vertices, outward, [V, 3]."""
        corner = self.vertices[self.faces]  # [F, 3, 3]
        face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        total = np.stack(
            [
                np.bincount(self.faces.ravel(), np.repeat(face[:, a], 3), len(self.vertices))
                for a in range(3)
            ],
            1,
        )
        return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)).astype(
            np.float32
        )

    def save(self, path: str | Path) -> Path:
        """Write .glb (turned to glTF's axes: y up, front +z), .ply, .obj or .stl (world axes).
        Returns the path.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise ExportError(f"path must end in one of {', '.join(FORMATS)}, got {str(path)!r}")
        with replacing(path) as temporary:
            if suffix == ".glb":
                temporary.write_bytes(glb_bytes(self))
            else:
                self.to_trimesh().export(temporary)
        return path

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same mesh as a `trimesh.Trimesh`, world axes."""
        import trimesh

        rgba = np.full((len(self.vertices), 4), 255, np.uint8)
        rgba[:, :3] = np.rint(self.colors * 255)
        return trimesh.Trimesh(self.vertices, self.faces, vertex_colors=rgba, process=False)


def extract_mesh(
    solid: Solid, *, resolution: int = 128, level: float | None = None, keep: float = 0.03
) -> Mesh:
    """The surface of a result as a closed mesh with the field's albedo at its vertices.

    resolution: cells along each side of the cube [-1, 1]^3 (8..512). level: density of the surface;
    by default the one whose silhouettes match the rendered ones. keep: components smaller than this
    share of the largest one's area are dropped as specks, as are closed cavities that cannot be
    seen. Raises ExportError when there is no surface at that level.
    """
    cells = whole(resolution)
    if cells is None or not 8 <= cells <= 512:
        raise ExportError(f"resolution must be in 8..512, got {resolution!r}")
    if level is not None and not level > 0:
        raise ExportError(f"level must be a positive density, got {level}")
    density = density_grid(solid, cells)
    top = float(density.max())
    if level is not None and 0 < top <= level:
        raise ExportError(f"level must be below the largest density, {top:.3g}, got {level:.3g}")
    if level is None:
        level = silhouette_level(density)
    if not 0 < level < top:
        raise ExportError(
            f"no surface to export: the largest density is {top:.3g} and the level is {level:.3g}; "
            "the run came out empty, so train it again with another seed or more steps"
        )
    vertices, faces = closed_surface(density.numpy(), level)
    vertices, faces = drop_specks(vertices, faces, keep)
    points = torch.from_numpy(vertices)
    colors = query(solid.albedo, points, device_of(solid)).clamp(0, 1).numpy()
    return Mesh(vertices, faces, colors.astype(np.float32), level)


def glb_bytes(mesh: Mesh) -> bytes:
    """A binary glTF 2.0 file: y up, front +z, matt material, linear vertex colours as the format
    prescribes.
    """
    turn = [1, 2, 0]  # glTF (x, y, z) = world (y, z, x), a rotation
    linear = np.where(
        mesh.colors <= 0.04045, mesh.colors / 12.92, ((mesh.colors + 0.055) / 1.055) ** 2.4
    )
    rgba = np.full((len(mesh.vertices), 4), 65535, np.uint16)
    rgba[:, :3] = np.rint(np.clip(linear, 0, 1) * 65535)
    position = np.ascontiguousarray(mesh.vertices[:, turn], np.float32)
    arrays: list[tuple[NDArray[Any], int, str, int, dict[str, Any]]] = [
        (
            position,
            5126,
            "VEC3",
            34962,
            {"min": position.min(0).tolist(), "max": position.max(0).tolist()},
        ),
        (np.ascontiguousarray(mesh.normals()[:, turn]), 5126, "VEC3", 34962, {}),
        (rgba, 5123, "VEC4", 34962, {"normalized": True}),
        (mesh.faces.astype(np.uint32).ravel(), 5125, "SCALAR", 34963, {}),
    ]
    accessors, views, blob = [], [], b""
    for index, (array, component, shape, target, more) in enumerate(arrays):
        data = array.tobytes()
        views.append(
            {"buffer": 0, "byteOffset": len(blob), "byteLength": len(data), "target": target}
        )
        accessors.append(
            {
                "bufferView": index,
                "componentType": component,
                "count": len(array),
                "type": shape,
                **more,
            }
        )
        blob += data  # every array is a multiple of four bytes long
    scene = {
        "asset": {"version": "2.0", "generator": "dfast"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [
            {
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2},
                        "indices": 3,
                        "material": 0,
                        "mode": 4,
                    }
                ]
            }
        ],
        "materials": [
            {
                "name": "matt",
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(blob)}],
    }
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(blob))
    return (
        header
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(blob), b"BIN\0")
        + blob
    )
