"""Extract the surface of a density field as a mesh with vertex colours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dfast._numbers import real, shown
from dfast.config.meshes import check_level, in_range
from dfast.errors import ExportError
from dfast.mesh.appearance import look_at
from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.components import Floaters, drop_floaters
from dfast.mesh.decimate import decimate
from dfast.mesh.density_grid import DensityField, density_grid, device_of
from dfast.mesh.level import rendered_level
from dfast.mesh.mesh import Mesh, vertex_normals
from dfast.mesh.smoothing import smooth
from dfast.mesh.surface_nets import closed_surface
from dfast.ops.ambient import neutral_torch_state

CUT = 0.97
"""Radius from which on a face counts as one on the bounding sphere."""


@neutral_torch_state()
def extract_mesh(
    density_field: DensityField,
    *,
    resolution: int = 128,
    level: float | None = None,
    keep: float = 0.03,
    faces: int | None = None,
) -> Mesh:
    """Extract the surface of a field as a closed mesh with the colours that its vertices show.

    Args:
        density_field: a result, or any object with the methods `density` and `albedo`.
        resolution: cells along each side of the cube [-1, 1]^3, 8 to 512.
        level: density at the surface; by default the one whose silhouettes match the rendered
            ones best.
        keep: components with less than this fraction of the largest one's area are dropped, as are
            haze and closed cavities, which cannot be seen.
        faces: budget to which the mesh is decimated; None keeps every face.

    Returns:
        The mesh, in world axes.

    Raises:
        ExportError: if an argument is out of range, or if there is no surface at that level.
    """
    return extract_with_grid(
        density_field, resolution=resolution, level=level, keep=keep, faces=faces
    )[0]


def extract_with_grid(
    density_field: DensityField,
    *,
    resolution: int,
    level: float | None,
    keep: float,
    faces: int | None,
) -> tuple[Mesh, Tensor]:
    """Return the mesh of `extract_mesh`, and the density grid [n, n, n] that it was found in."""
    cells = in_range("resolution", resolution)
    budget = None if faces is None else in_range("faces", faces)
    level = check_level(level)
    least = real(keep)
    if least is None or not 0 <= least <= 1:
        raise ExportError(f"keep must be a fraction of an area, 0 to 1, got {shown(keep)}")
    density = density_grid(density_field, cells)
    top = float(density.max())
    if level is not None and 0 < top <= level:
        raise ExportError(f"level must be below the largest density, {top:.3g}, got {level:.3g}")
    if level is None:
        level = rendered_level(density_field, density)
    if not 0 < level < top:
        raise ExportError(
            f"no surface to export: the largest density is {top:.3g} and the level is {level:.3g}; "
            "the run came out empty, so train it again with another seed or more steps"
        )
    vertices, triangles = closed_surface(density.numpy(), level)
    if not len(triangles):  # the level is the largest density but for a rounding error
        raise ExportError(
            f"level must be below the largest density, {top:.9g}, got {level:.9g}: it leaves no "
            "surface"
        )
    vertices, triangles, floaters = drop_floaters(
        vertices, triangles, density.numpy(), level, least
    )
    vertices = smooth(vertices, triangles)
    if budget is not None:
        vertices, triangles = decimate(vertices, triangles, budget)
    normals = vertex_normals(vertices, triangles)
    where, outward = (torch.from_numpy(a).to(device_of(density_field)) for a in (vertices, normals))
    colors, _ = look_at(density_field, where, outward, level)
    notes = _notes(vertices, triangles, floaters, budget)
    return Mesh(vertices, triangles, colors.cpu().numpy(), level, notes=notes), density


def _notes(
    vertices: Floats, faces: Indices, floaters: Floaters, budget: int | None
) -> tuple[str, ...]:
    """Return a line for each thing about a mesh that its user should know."""
    notes = []
    if floaters.pieces:
        what = "piece that floats" if floaters.pieces == 1 else "pieces that float"
        notes.append(
            f"removed {floaters.pieces} {what} beside the object, {floaters.area:.1%} of the "
            "surface"
        )
    radius = np.linalg.norm(vertices[faces].mean(1), axis=1)
    cut = float((radius > CUT).mean())
    if cut > 0.01:
        notes.append(
            f"{cut:.0%} of the faces lie on the bounding sphere: the object fills it, or is cut "
            "off there"
        )
    if budget is not None and len(faces) > 1.01 * budget:
        notes.append(f"kept {len(faces)} faces: with {budget} the mesh would have holes")
    return tuple(notes)
