#!/usr/bin/env bash
# meshio gives the n-th texture coordinate of an OBJ file to the n-th vertex, whatever the faces say.
#
# Expected (written down before the run): the texture coordinates follow the faces' own indices (f vertex/coordinate),
# or are refused if one array of vertices cannot hold them.
# Seen with meshio 5.3.5, trimesh 5.2.0 and numpy 2.4.6, 2026-11-29, for a grid whose faces name the coordinates in
# another order than the vertices, as OBJ lets them: meshio reads the first index of each corner alone and attaches the
# list of "vt" as it stands (that of "vn", too), without a word. Only if the two lists have different lengths does it
# raise (its issue 1261). The OBJ file that it then writes holds them so. The coordinates here equal the positions; the
# largest error is 0.875 of the texture, and 0 if the lists have the same order. trimesh reads both files rightly.
# So a chart with one coordinate to a vertex, which is what an unwrapped patch without a seam is, passes a conversion
# by meshio and wears a shuffled texture after it.
#
# Usage: findings/meshio_obj_texture_coordinates_by_position.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q meshio==5.3.5 trimesh==5.2.0 numpy==2.4.6 pillow==13.0.0
cat > "$folder/see.py" <<'PYTHON'
import sys

import meshio
import numpy as np
import trimesh

SIDE = 9
steps = np.linspace(0, 1, SIDE)
POINTS = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
index = np.arange(SIDE**2).reshape(SIDE, SIDE)
a, b, c, d = (x.ravel() for x in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
FACES = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def write(path, order):
    """Write the grid with its positions as texture coordinates, "vt" listed in an order of its own."""
    place = np.argsort(order)  # where in the list of "vt" the coordinate of each vertex is
    lines = [f"v {x:.9g} {y:.9g} 0" for x, y in POINTS] + [f"vt {u:.9g} {v:.9g}" for u, v in POINTS[order]]
    lines += ["f " + " ".join(f"{i + 1}/{place[i] + 1}" for i in face) for face in FACES]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def error(mesh):
    """Return the largest difference between texture coordinates and positions, as trimesh and meshio hold them."""
    if isinstance(mesh, meshio.Mesh):
        return float(np.abs(mesh.point_data["obj:vt"] - mesh.points[:, :2]).max())
    return float(np.abs(mesh.visual.uv - mesh.vertices[:, :2]).max())


seen = {}
for name, order in (("same", np.arange(SIDE**2)), ("other", np.random.default_rng(0).permutation(SIDE**2))):
    path = f"{sys.argv[1]}/{name}.obj"
    write(path, order)
    mesh = meshio.read(path)
    mesh.write(f"{sys.argv[1]}/{name}_again.obj")
    again = meshio.read(f"{sys.argv[1]}/{name}_again.obj")
    seen[name] = [round(error(m), 3) for m in (mesh, again, trimesh.load(path, process=False))]
print(f"meshio {meshio.__version__}, trimesh {trimesh.__version__}: largest errors {seen}")
assert seen["same"] == [0, 0, 0], "the behaviour changed: the same order"
assert min(seen["other"][:2]) > 0.7 and seen["other"][2] == 0, "the behaviour changed: another order"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
