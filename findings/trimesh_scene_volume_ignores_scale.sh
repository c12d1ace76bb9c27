#!/usr/bin/env bash
# The volume, area and inertia of a trimesh scene are those of its parts before their nodes scale them.
#
# Expected (written down before the run): for a scene whose node scales a mesh by 2, volume, area, moment_inertia,
# center_mass, bounds and convex_hull are those of the transformed mesh.
# Seen with trimesh 5.2.0 and numpy 2.4.6, 2026-11-29:
#   a cube of side 1 under a node that scales by 2    the scene says          one mesh made of it says
#     volume, area, inertia about x                   1, 6, 0.0417            8, 24, 5.33
#     extents, volume of the convex hull              2, 8                    2, 8
#   the same, with a plain cube at x = 10             centre of mass 5.0      1.1
# Each instance is counted, and moved for the centre of mass, but its volume, area and mass are those of the geometry as
# stored; scene.scaled(2), which multiplies the stored vertices as well, makes the volume 64 times as large. The
# documentation says "summed area of every instanced geometry". A scene without scales is right, to_mesh() is, too, and
# nothing is said.
# So what a printed object weighs and costs, and on which side it falls, is wrong for GLB files with a scale in a node,
# as conversions of units leave one, by the cube of it.
#
# Usage: findings/trimesh_scene_volume_ignores_scale.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q trimesh==5.2.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/see.py" <<'PYTHON'
import io

import numpy as np
import trimesh

DOUBLE, AWAY = np.diag([2.0, 2.0, 2.0, 1.0]), np.eye(4)
AWAY[0, 3] = 10


def measure(thing):
    """Return the measures of a scene or of a mesh, rounded."""
    values = {"volume": thing.volume, "area": thing.area, "inertia": thing.moment_inertia[0, 0],
              "extent": thing.extents[0], "hull": thing.convex_hull.volume, "centre": thing.center_mass[0]}
    return {name: round(float(value), 4) + 0.0 for name, value in values.items()}


def scene(*matrices):
    """Return a scene of unit cubes, one a matrix, after it went through a GLB file."""
    made = trimesh.Scene()
    for matrix in matrices:
        made.add_geometry(trimesh.creation.box(), transform=matrix)
    return trimesh.load(io.BytesIO(made.export(file_type="glb")), file_type="glb")


one, two = scene(DOUBLE), scene(DOUBLE, AWAY)
seen = {"one": (measure(one), measure(one.to_mesh())), "two": (measure(two), measure(two.to_mesh()))}
for name, (whole, mesh) in seen.items():
    print(f"trimesh {trimesh.__version__}, {name}: scene {whole}, mesh {mesh}")
again = float(one.scaled(2).volume / one.volume)
plain = scene(np.eye(4), AWAY)
print("scaled by 2, the volume grows by", round(again, 3))
print("without scales:", measure(plain), measure(plain.to_mesh()))

first, true = seen["one"]
assert (true["volume"], true["area"], true["inertia"]) == (8, 24, 5.3333), "the behaviour changed: mesh"
assert (first["volume"], first["area"], first["inertia"]) == (1, 6, 0.0417), "the behaviour changed: scene"
assert (first["extent"], first["hull"]) == (2, 8) == (true["extent"], true["hull"]), "the behaviour changed: extent"
first, true = seen["two"]
assert (first["centre"], true["centre"]) == (5, 1.1111), "the behaviour changed: the centre of mass"
assert abs(again - 64) < 1e-3, "the behaviour changed: scaled"
assert measure(plain) == measure(plain.to_mesh()), "the behaviour changed: without scales"
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
