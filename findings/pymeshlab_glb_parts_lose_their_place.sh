#!/usr/bin/env bash
# PyMeshLab measures the parts of a GLB file where they belong, and saves and samples them without place and size.
#
# Expected (written down before the run): a node's transform is part of the mesh that is loaded: saving it as PLY, OBJ
# or STL writes the transformed vertices, and distances, measures and samples are those of the transformed mesh.
# Seen with pymeshlab 2025.7.post1, trimesh 5.2.0 and numpy 2.4.6, 2026-11-29, for a cube of side 1 under a node that
# scales by 2 and moves by 5:
#   get_geometric_measures                          volume 8, centre at 5: transformed
#   get_hausdorff_distance to the true cube         0: transformed
#   save_current_mesh as PLY, OBJ, STL, OFF         volume 1, centre at 0: not transformed
#   generate_convex_hull, generate_sampling_*       untransformed results, with no transform of their own
# The matrix stays beside the vertices (transform_matrix), no file of these formats holds it, and nothing is said. A
# mesh whose transform is the identity shows none of it. apply_matrix_freeze() or generate_by_merging_visible_meshes()
# before saving writes the true vertices.
# So a generated object of several parts, or one whose exporter turned z up into y up by a node, passes every check
# inside and is saved with its parts in a heap at the origin, each in its own size.
#
# Usage: findings/pymeshlab_glb_parts_lose_their_place.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pymeshlab==2025.7.post1 trimesh==5.2.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/see.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import pymeshlab
import trimesh

WHERE = sys.argv[1]
MATRIX = np.diag([2.0, 2.0, 2.0, 1.0])
MATRIX[0, 3] = 5
scene = trimesh.Scene()
scene.add_geometry(trimesh.creation.box(), transform=MATRIX)
scene.export(f"{WHERE}/part.glb")
trimesh.creation.box().apply_transform(MATRIX).export(f"{WHERE}/true.ply")


def load():
    """Return a new set of meshes with the part from the GLB file."""
    meshes = pymeshlab.MeshSet(verbose=False)
    meshes.load_new_mesh(f"{WHERE}/part.glb")
    return meshes


def describe(mesh):
    """Return the largest side of a mesh's box and the x of the middle of the box, rounded."""
    low, high = np.min(mesh, 0), np.max(mesh, 0)
    return round(float((high - low).max()), 1), round(float((low + high)[0] / 2), 1)


def saved(meshes, kind):
    """Return the description of the current mesh as a file of this kind has it."""
    meshes.save_current_mesh(f"{WHERE}/saved.{kind}")
    return describe(trimesh.load(f"{WHERE}/saved.{kind}", force="mesh").vertices)


meshes, seen = load(), {}
assert np.allclose(meshes.current_mesh().transform_matrix(), MATRIX), "the behaviour changed: the matrix is not kept"
measures = meshes.get_geometric_measures()
seen["measured"] = round(measures["mesh_volume"] ** (1 / 3), 1), round(float(measures["center_of_mass"][0]), 1)
meshes.load_new_mesh(f"{WHERE}/true.ply")
distance = meshes.get_hausdorff_distance(sampledmesh=0, targetmesh=1, maxdist=pymeshlab.PercentageValue(100))["max"]
seen |= {kind: saved(load(), kind) for kind in ("ply", "obj", "stl", "off")}
for name, settings in (("generate_convex_hull", {}), ("generate_sampling_montecarlo", {"samplenum": 10000})):
    meshes = load()
    getattr(meshes, name)(**settings)
    assert np.allclose(meshes.current_mesh().transform_matrix(), np.eye(4)), f"the behaviour changed: {name}'s matrix"
    seen[name] = describe(meshes.current_mesh().vertex_matrix())
for name in ("apply_matrix_freeze", "generate_by_merging_visible_meshes"):
    meshes = load()
    getattr(meshes, name)()
    seen[name] = saved(meshes, "ply")
print(f"pymeshlab {version('pymeshlab')}: side and centre {seen}, distance to the true cube {distance}")
true, bare = (2.0, 5.0), (1.0, 0.0)
places = {"measured": true, "apply_matrix_freeze": true, "generate_by_merging_visible_meshes": true}
for name, place in seen.items():
    assert place == places.get(name, bare), f"the behaviour changed: {name} has {place}"
assert distance < 1e-6, "the behaviour changed: the distance"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
