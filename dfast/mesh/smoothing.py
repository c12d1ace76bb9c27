"""Smooth a mesh without shrinking it: the grid's pattern and the finest lumps go, edges stay.

Each round moves the vertices towards the mean of their neighbours, and then a little farther back.
Source: Taubin, "A signal processing approach to fair surface design" (1995).
"""

from __future__ import annotations

import numpy as np

from dfast.mesh.arrays import Floats, Indices

ROUNDS = 20
"""Rounds: measured on procedural objects, more of them round edges more than they smooth sides."""
TOWARDS, BACK = 0.5, -0.53
"""Ways towards the mean of the neighbours, as fractions of it; the second is negative."""


def smooth(vertices: Floats, faces: Indices) -> Floats:
    """Return the vertices [V, 3] of a closed mesh of faces [F, 3], smoothed."""
    # Each edge of a closed mesh runs both ways, so that every vertex meets every neighbour.
    start, end = faces.ravel(), np.roll(faces, -1, 1).ravel()
    neighbours = np.bincount(start, minlength=len(vertices))
    moved = np.ascontiguousarray(vertices.T, float)
    for way in (TOWARDS, BACK) * ROUNDS:
        for line in moved:  # an axis at a time
            line += way * (np.bincount(start, line[end], len(line)) / neighbours - line)
    return np.ascontiguousarray(moved.T, np.float32)
