"""Connected components of a triangle mesh."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.density_grid import RADIUS, sample

OPAQUE = 0.5
"""Smallest mean opacity of a component that counts as part of the object."""
CHORD = 64
"""Steps of the rays that measure the opacity of a component."""
RAYS = 1024
"""Most rays for a component."""


class Floaters(NamedTuple):
    """What was removed beside the object."""

    pieces: int
    """How many."""
    area: float
    """Their area, as a fraction of that of the whole surface."""


def drop_floaters(
    vertices: Floats, faces: Indices, density: Floats, level: float, keep: float
) -> tuple[Floats, Indices, Floaters]:
    """Remove what is beside the object, and the walls of closed cavities, which face inward.

    A component is part of the object if it has a fair share of the area, and if it is dense: haze
    that the level set happens to enclose has a large area, but is hardly seen.

    Args:
        vertices: [V, 3].
        faces: [F, 3] indices.
        density: [n, n, n] grid of which this is the level set.
        level: density at the surface.
        keep: smallest area of a component that is kept, as a fraction of the largest one's.

    Returns:
        The remaining vertices, the faces that index them, and what was removed, cavities not
        counted. The component that shows most stays in any case.
    """
    label = component_labels(len(vertices), faces)
    corner = vertices[faces].astype(float)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    of_face = label[faces[:, 0]]
    area = np.bincount(of_face, np.linalg.norm(cross, axis=1), len(vertices))
    outward = np.bincount(of_face, (cross * corner[:, 0]).sum(1), len(vertices)) > 0
    large = (area >= keep * area.max()) & outward
    if not large.any():
        large = area == area.max()
    seen = np.zeros(len(vertices))  # area times opacity
    for component in np.nonzero(large)[0].tolist():
        mine = of_face == component
        opacity = _opacity(corner[mine].mean(1), cross[mine], density, level)
        seen[component] = area[component] * opacity
    main = seen.argmax()
    large &= seen >= OPAQUE * area
    large[main] = True
    gone = outward & ~large & (area > 0)
    removed = Floaters(int(gone.sum()), float(area[gone].sum() / area[gone | large].sum()))
    faces = faces[large[of_face]]
    used, faces = np.unique(faces, return_inverse=True)
    return vertices[used], faces.reshape(-1, 3), removed


def _opacity(
    points: NDArray[np.float64], normals: NDArray[np.float64], density: Floats, level: float
) -> float:
    """Return the mean opacity of rays that enter a body against its normals, until they leave it.

    Args:
        points: [N, 3] on its surface.
        normals: [N, 3] outward; their lengths are the weights of the rays.
        density: [n, n, n].
        level: density at the surface.
    """
    every = max(1, len(points) // RAYS)
    points, normals = points[::every], normals[::every]
    weight = np.linalg.norm(normals, axis=1)
    inward = -normals / np.maximum(weight, 1e-30)[:, None]
    step = RADIUS / density.shape[0]
    depth = (np.arange(CHORD) + 0.5) * step
    where = torch.from_numpy(points[:, None] + depth[:, None] * inward[:, None]).float()
    values = sample(torch.from_numpy(density), where.reshape(-1, 3)).numpy()
    values = values.reshape(len(points), CHORD)
    dense = values >= level
    dense[:, :2] = True  # the surface of the grid is a fraction of a cell off
    within = np.logical_and.accumulate(dense, axis=1)
    opacity = 1 - np.exp(-step * (values * within).sum(1))
    return float((opacity * weight).sum() / max(weight.sum(), 1e-30))


def component_labels(count: int, faces: Indices) -> Indices:
    """Return the smallest vertex index in the component of each of `count` vertices, [count].

    Faces [F, K] join K vertices each. Labels spread over the faces and then jump to the label of
    their label, until none changes.
    """
    label, corners = np.arange(count), np.ascontiguousarray(faces.T)
    while True:
        low = label[corners].min(0)
        new = label.copy()
        for corner in corners:
            np.minimum.at(new, corner, low)
        new = new[new]
        if (new == label).all():
            return label
        label = new
