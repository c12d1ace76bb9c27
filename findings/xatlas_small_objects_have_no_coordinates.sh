#!/usr/bin/env bash
# xatlas gives an object of few millimetres, in metres, NaN for texture coordinates, or (0, 0) if only parts are small.
#
# Expected (written down before the run): parametrize does not depend on the unit, or at worst some of the smallest
# faces collapse.
# Seen with xatlas 0.0.11 and numpy 2.4.6, 2026-11-29, for a torus of 4608 faces: with a radius of 1 or 0.01 every
# face has its place in the atlas, with 0.003 all coordinates are NaN. A large torus beside the small one has its
# coordinates, and the small one is at (0, 0) with all its faces. No error and no warning either way. Faces below an
# area of FLT_EPSILON (1.2e-7, of the square of whatever the unit is) count as degenerate and are left out; an atlas
# without any chart has size zero, by which the coordinates are divided. It is the faces that count: no face of an
# icosphere of radius 0.1 with 1.3 million of them is larger.
# So a fine mesh in metres, which is what glTF wants, loses its texture: scale it up before and use the coordinates as
# they are.
#
# Usage: findings/xatlas_small_objects_have_no_coordinates.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q xatlas==0.0.11 numpy==2.4.6
cat > "$folder/see.py" <<'PYTHON'
import numpy as np
import xatlas

SIDE = 48
turn = np.arange(SIDE) * 2 * np.pi / SIDE
u, v = (x.ravel() for x in np.meshgrid(turn, turn, indexing="ij"))
ring = 1 + 0.4 * np.cos(v)
TORUS = np.stack([ring * np.cos(u), ring * np.sin(u), 0.4 * np.sin(v)], 1).astype(np.float32)
a, b = (x.ravel() for x in np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"))
corner = [(a + i) % SIDE * SIDE + (b + j) % SIDE for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
FACES = np.concatenate([np.stack([corner[0], corner[k], corner[k + 1]], 1) for k in (1, 2)]).astype(np.uint32)


def charted(vertices, faces):
    """Return which faces have an area in the atlas, and which have a coordinate that is NaN."""
    _, indices, places = xatlas.parametrize(vertices.astype(np.float32), faces)
    x, y, z = (places[indices[:, k]] for k in range(3))
    area = np.abs((y - x)[:, 0] * (z - x)[:, 1] - (y - x)[:, 1] * (z - x)[:, 0])
    return area > 0, np.isnan(area)


seen = {}
for radius in (1.0, 0.01, 0.003):
    placed, missing = charted(TORUS * radius, FACES)
    seen[radius] = (int(placed.sum()), int(missing.sum()))
placed, missing = charted(np.concatenate([TORUS, TORUS * 0.003 + [3, 0, 0]]), np.concatenate([FACES, FACES + len(TORUS)]))
seen["large, small"] = (int(placed[: len(FACES)].sum()), int(placed[len(FACES) :].sum()), int(missing.sum()))
print(f"xatlas {xatlas.__version__}, {len(FACES)} faces: with an area and NaN {seen}")
whole = len(FACES)
wanted = {1.0: (whole, 0), 0.01: (whole, 0), 0.003: (0, whole), "large, small": (whole, 0, 0)}
assert seen == wanted, f"the behaviour changed: expected {wanted}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
