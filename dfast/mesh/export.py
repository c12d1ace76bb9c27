"""Export a density field: extract, decimate, texture and write its mesh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dfast.config.meshes import check_mesh
from dfast.mesh.density_grid import DensityField
from dfast.mesh.extract import extract_with_grid
from dfast.mesh.mesh import Mesh
from dfast.mesh.texture import bake_texture
from dfast.ops.ambient import neutral_torch_state


@neutral_torch_state()
def export_mesh(
    density_field: DensityField,
    path: str | Path | None = None,
    *,
    faces: int | None = None,
    texture: int | None = None,
    vertex_colors: bool = False,
    size: float | None = None,
    resolution: int = 128,
    level: float | None = None,
    keep: float = 0.03,
) -> Mesh:
    """Return the surface of a field as a mesh, and write it to a file.

    Args:
        density_field: a result, or any object with the methods `density` and `albedo`.
        path: the file: .glb, .usdz or .obj for a textured mesh, .ply, .3mf or .stl; None writes
            none.
        faces: face budget. By default 20 000 for a textured file and 50 000 for another; a mesh
            that is not written keeps every face.
        texture: texels a side; 1024 by default for a file that can have textures. Without a file
            the mesh gets a texture if this is given.
        vertex_colors: write colours at the vertices in place of textures.
        size: largest extent in the file, in metres; by default a world unit is a metre, and
            objects for printers (.stl, .3mf) are 0.1 metres large.
        resolution: cells along each side of the cube [-1, 1]^3, 8 to 512.
        level: density at the surface; by default the one whose silhouettes match the rendered
            ones best.
        keep: smallest area of a separate piece that is kept, as a fraction of the largest one's.

    Returns:
        The mesh, in world axes.

    Raises:
        ExportError: an argument that cannot be, no surface, or a file that cannot be written.
    """
    options = check_mesh(path, faces=faces, texture=texture, vertex_colors=vertex_colors, size=size)
    mesh, density = extract_with_grid(
        density_field, resolution=resolution, level=level, keep=keep, faces=options.faces
    )
    if options.texture is not None:
        assert mesh.level is not None
        baked = bake_texture(
            density_field,
            mesh.vertices,
            mesh.faces,
            mesh.normals(),
            level=mesh.level,
            size=options.texture,
            density=density,
        )
        mesh = replace(mesh, texture=baked)
    if path is not None:
        mesh.save(path, options.size)
    return mesh
