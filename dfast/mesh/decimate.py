"""Reduce a closed mesh to a number of faces, by quadric edge collapse (fast-simplification)."""

from __future__ import annotations

import numpy as np

from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.manifold import is_closed, part_sheets

AGGRESSIVENESS = (7.0, 4.0, 1.0)
"""Speeds of the collapse, tried in turn until the mesh that comes out is closed."""


def decimate(vertices: Floats, faces: Indices, budget: int) -> tuple[Floats, Indices]:
    """Reduce a closed mesh to about a number of faces.

    Args:
        vertices: [V, 3].
        faces: [F, 3] indices of a manifold mesh.
        budget: faces to leave; a mesh of fewer stays as it is.

    Returns:
        Vertices and faces of a closed, manifold mesh. It is the one given if every attempt left
        holes.
    """
    if len(faces) <= budget:
        return vertices, faces
    import fast_simplification

    for aggressiveness in AGGRESSIVENESS:
        points, triangles = fast_simplification.simplify(
            vertices,
            np.ascontiguousarray(faces, np.int32),
            target_count=budget,
            agg=aggressiveness,
        )
        found = part_sheets(points.astype(np.float32), triangles.astype(np.int64))
        if found is not None and len(found[1]) and is_closed(found[1]):
            return found
    return vertices, faces
