#!/usr/bin/env bash
# A glTF file that pygltflib loads and saves loses the weights of its nodes: morphed parts take another shape.
#
# Expected (written down before the run): load() and save() keep what is in a valid file: extensions without content,
# COLOR_1 and further attributes, and all that belongs to morph targets.
# Seen with pygltflib 1.16.5, pyvista 0.49.1 and vtk 9.7.2, 2026-11-30, for a square with two morph targets (up by 1, up
# by 10) and mesh weights (0.5, 0), under a node with weights (0, 1) and a node without:
#   heights as VTK's reader gives them                  10, 0.5
#   after GLTF2().load(path).save(path), .gltf, .glb    0.5, 0.5
# By glTF 2.0 a node's weights go before those of its mesh. pygltflib's Node has no such field, so that what is in the
# file is dropped and nothing is said; Node(weights=[0, 1]) raises. All else of the above is kept, as are the weights of
# meshes and animations of weights.
# So a pass that only renames a material or adds an author puts a face with an expression back to the mesh's own, and
# all instances of a mesh get one shape. What is saved is a valid file. Edit the JSON itself, or keep the weights in a
# mesh of their own for each node.
#
# Usage: findings/pygltflib_forgets_node_weights.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pygltflib==1.16.5 pyvista==0.49.1 vtk==9.7.2 numpy==2.4.6
cat > "$folder/see.py" <<'PYTHON'
import base64
import json
import sys
from importlib.metadata import version

import numpy as np
import pyvista
from pygltflib import GLTF2, Node

WHERE = sys.argv[1]
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
UP = np.array([[0, 0, 1]] * 4, np.float32)
FACES = np.array([0, 1, 2, 0, 2, 3], np.uint16)


def write(path):
    """Write the square with two morph targets under two nodes, the first of which has weights."""
    arrays = (SQUARE, UP, 10 * UP, FACES)
    starts = np.cumsum([0] + [a.nbytes for a in arrays])
    blob = b"".join(a.tobytes() for a in arrays)
    views = [{"buffer": 0, "byteOffset": int(s), "byteLength": a.nbytes} for s, a in zip(starts, arrays)]
    accessors = [
        {"bufferView": i, "componentType": 5126, "count": 4, "type": "VEC3",
         "min": a.min(0).tolist(), "max": a.max(0).tolist()}
        for i, a in enumerate(arrays[:3])]
    accessors.append({"bufferView": 3, "componentType": 5123, "count": 6, "type": "SCALAR"})
    uri = "data:application/octet-stream;base64," + base64.b64encode(blob).decode()
    primitive = {"attributes": {"POSITION": 0}, "indices": 3, "targets": [{"POSITION": 1}, {"POSITION": 2}]}
    content = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"mesh": 0, "weights": [0, 1]}, {"mesh": 0}],
        "meshes": [{"primitives": [primitive], "weights": [0.5, 0]}],
        "accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(blob), "uri": uri}]}
    with open(path, "w") as file:
        json.dump(content, file)


def heights(data):
    """Return the heights of all parts that VTK's reader finds, in order."""
    if isinstance(data, pyvista.MultiBlock):
        return [height for part in data if part is not None for height in heights(part)]
    return [round(float(data.points[:, 2].mean()), 2)]


write(f"{WHERE}/in.gltf")
seen = {"before": heights(pyvista.read(f"{WHERE}/in.gltf"))}
for kind in ("gltf", "glb"):
    GLTF2().load(f"{WHERE}/in.gltf").save(f"{WHERE}/out.{kind}")
    again = GLTF2().load(f"{WHERE}/out.{kind}")
    assert again.meshes[0].weights == [0.5, 0], "the behaviour changed: the mesh's weights"
    assert len(again.meshes[0].primitives[0].targets) == 2, "the behaviour changed: the targets"
    seen[kind] = heights(pyvista.read(f"{WHERE}/out.{kind}"))
print(f"pygltflib {version('pygltflib')}, vtk {version('vtk')}: heights {seen}")
assert seen["before"] == [10, 0.5], "the behaviour changed: VTK's reading"
assert seen["gltf"] == seen["glb"] == [0.5, 0.5], "the behaviour changed: the weights are kept"
try:
    Node(weights=[0, 1])
except TypeError:
    pass
else:
    raise AssertionError("the behaviour changed: Node has weights")
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
