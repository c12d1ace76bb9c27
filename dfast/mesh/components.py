"""Connected components of a triangle mesh."""

from __future__ import annotations

import numpy as np

from dfast.mesh.arrays import Floats, Indices


def drop_small_components(vertices: Floats, faces: Indices, keep: float) -> tuple[Floats, Indices]:
    """Remove components of little area and those that face inward (the walls of closed cavities).

    Args:
        vertices: [V, 3].
        faces: [F, 3] indices.
        keep: smallest area of a component that is kept, as a fraction of the largest one's.

    Returns:
        The remaining vertices and the faces that index them. The largest component stays even if
        it faces inward.
    """
    label = component_labels(len(vertices), faces)
    corner = vertices[faces].astype(float)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    of_face = label[faces[:, 0]]
    area = np.bincount(of_face, np.linalg.norm(cross, axis=1), len(vertices))
    volume = np.bincount(of_face, (cross * corner[:, 0]).sum(1), len(vertices))
    good = (area >= keep * area.max()) & (volume > 0)
    if not good.any():
        good = area == area.max()
    faces = faces[good[of_face]]
    used, faces = np.unique(faces, return_inverse=True)
    return vertices[used], faces.reshape(-1, 3)


def component_labels(count: int, faces: Indices) -> Indices:
    """Return the smallest vertex index in the component of each of `count` vertices, [count].

    Labels spread over the faces and then jump to the label of their label, until none changes.
    """
    label = np.arange(count)
    while True:
        low = label[faces].min(1)
        new = label.copy()
        np.minimum.at(new, faces.ravel(), np.repeat(low, 3))
        new = new[new]
        if (new == label).all():
            return label
        label = new
