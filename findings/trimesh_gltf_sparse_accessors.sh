#!/usr/bin/env bash
# trimesh reads sparse accessors of glTF without their values: moved vertices stay, and others are all at the origin.
#
# Expected (written down before the run): an accessor with "sparse", which is in the core of glTF 2.0, is read as its
# base values, or zeros if it has none, with the listed ones replaced.
# Seen with trimesh 5.2.0 and numpy 2.4.6, 2026-11-29, for an icosphere of radius 1 with 642 vertices:
#   base values, the top vertex moved to a height of 3      the height is 1
#   no base values, all vertices listed                     642 times (0, 0, 0), 1280 faces
#   colours on a white base, half of them listed as red     all white
# The loader never looks at the listed values, and nothing is said. The "min" and "max" of the accessor, which are in
# the file as well, tell that something is missing. Khronos' sample SimpleSparseAccessor is such a file, and
# glTF-Transform's function sparse() writes them for attributes with many zeros. Khronos'
# gltf-validator 2.0.0 (dev.3.10) has no complaint about these files.
# So an edited or painted object that was compressed so is scored, converted and printed without the edit.
#
# Usage: findings/trimesh_gltf_sparse_accessors.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q trimesh==5.2.0 pygltflib==1.16.5 numpy==2.4.6 scipy==1.17.1 networkx==3.6.1
cat > "$folder/see.py" <<'PYTHON'
import sys

import numpy as np
import pygltflib as gltf
import trimesh

SPHERE = trimesh.creation.icosphere(3)
POINTS, FACES = np.array(SPHERE.vertices, np.float32), np.array(SPHERE.faces, np.uint32)
TYPES = {"float32": gltf.FLOAT, "uint32": gltf.UNSIGNED_INT, "uint8": gltf.UNSIGNED_BYTE}


class File:
    """A glTF file that grows by accessors."""

    def __init__(self):
        """Start without content."""
        self.file, self.blob = gltf.GLTF2(), b""

    def view(self, values):
        """Append an array and return the number of its view."""
        self.file.bufferViews.append(gltf.BufferView(buffer=0, byteOffset=len(self.blob), byteLength=values.nbytes))
        self.blob += values.tobytes()
        self.blob += b"\0" * (-len(self.blob) % 4)
        return len(self.file.bufferViews) - 1

    def accessor(self, values, base=None, where=None):
        """Append an accessor that stands for values, by a base (or zeros) and the rows of where if these are given."""
        made = gltf.Accessor(
            componentType=TYPES[values.dtype.name], count=len(values), normalized=values.dtype == np.uint8,
            type="SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}",
            min=np.atleast_1d(values.min(0)).tolist(), max=np.atleast_1d(values.max(0)).tolist())
        if where is None:
            made.bufferView = self.view(values)
        else:
            made.bufferView, made.byteOffset = (None, None) if base is None else (self.view(base), 0)
            made.sparse = gltf.Sparse(
                count=len(where),
                indices=gltf.AccessorSparseIndices(
                    bufferView=self.view(where.astype(np.uint32)), componentType=gltf.UNSIGNED_INT),
                values=gltf.AccessorSparseValues(bufferView=self.view(values[where])))
        self.file.accessors.append(made)
        return len(self.file.accessors) - 1

    def read(self, path, **attributes):
        """Save the sphere with these accessors as attributes, and return what trimesh reads."""
        faces = self.accessor(FACES.ravel())
        primitive = gltf.Primitive(attributes=gltf.Attributes(**attributes), indices=faces)
        self.file.meshes = [gltf.Mesh(primitives=[primitive])]
        self.file.nodes, self.file.scenes, self.file.scene = [gltf.Node(mesh=0)], [gltf.Scene(nodes=[0])], 0
        self.file.buffers = [gltf.Buffer(byteLength=len(self.blob))]
        self.file.set_binary_blob(self.blob)
        self.file.save_binary(path)
        return trimesh.load(path, force="mesh", process=False)


path, everything = f"{sys.argv[1]}/sphere.glb", np.arange(len(POINTS))
raised = POINTS.copy()
top = np.array([POINTS[:, 2].argmax()])
raised[top, 2] = 3
file = File()
moved = file.read(path, POSITION=file.accessor(raised, base=POINTS, where=top))
file = File()
listed = file.read(path, POSITION=file.accessor(POINTS, where=everything))
file, white = File(), np.full((len(POINTS), 4), 255, np.uint8)
red = white.copy()
red[::2] = (255, 0, 0, 255)
painted = file.read(path, POSITION=file.accessor(POINTS), COLOR_0=file.accessor(red, base=white, where=everything[::2]))
file = File()
dense = file.read(path, POSITION=file.accessor(raised), COLOR_0=file.accessor(red))
seen = {
    "height": round(float(moved.vertices[:, 2].max()), 3), "without a base": float(np.abs(listed.vertices).max()),
    "faces": len(listed.faces), "white": bool((painted.visual.vertex_colors == white).all())}
right = (round(float(dense.vertices[:, 2].max()), 3), bool((dense.visual.vertex_colors == red).all()))
print(f"trimesh {trimesh.__version__}: sparse {seen}, the same without sparse {right}")
assert right == (3.0, True), "the behaviour changed: plain accessors"
assert seen == {"height": 1.0, "without a base": 0.0, "faces": 1280, "white": True}, "the behaviour changed"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
