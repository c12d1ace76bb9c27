#!/usr/bin/env bash
# trimesh reads normalised integers of a glTF file as stored: 16-bit colours keep their low byte, without a word.
#
# Expected (written down before the run): an accessor with "normalized": true stands for fractions, so the colour
# (65535, 32768, 16384) is read as (255, 128, 64), texture coordinates and positions as fractions of 65535 and 32767.
# Seen with trimesh 5.2.0 and numpy 2.4.6, 2026-11-29:
#   COLOR_0     unsigned short   (65535, 32768, 16384)   read as (255, 0, 0)
#   TEXCOORD_0  unsigned short   (32768, 16384)          read as (32768, 49153), which is 1 - v in 16 bits
#   POSITION    short            (16384, 0, 0)           read as (16384, 0, 0), not 0.5, though the file says that its reader
#                                                        must know KHR_mesh_quantization
# The colour loses its upper byte in a cast to uint8. Unsigned bytes and floats are read rightly. Blender 5.0.1 (the
# package bpy) writes COLOR_0 so, and colours painted there arrive as noise; compressors write the others. Khronos'
# gltf-validator 2.0.0 (dev.3.10) has no complaint about these files.
#
# Usage: findings/trimesh_gltf_normalized_integers.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q trimesh==5.2.0 pygltflib==1.16.5 numpy==2.4.6 pillow==13.0.0
cat > "$folder/see.py" <<'PYTHON'
import sys

import numpy as np
import pygltflib as gltf
import trimesh

TYPES = {"float32": gltf.FLOAT, "uint16": gltf.UNSIGNED_SHORT, "int16": gltf.SHORT, "uint8": gltf.UNSIGNED_BYTE}
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


def write(path, extensions=(), **attributes):
    """Write a triangle whose attributes are arrays, integers being normalised, each vertex padded to four bytes."""
    file, blob = gltf.GLTF2(), b""
    for name, values in attributes.items():
        rows = np.ascontiguousarray(values).view(np.uint8)
        stride = -(-rows.shape[1] // 4) * 4
        data = np.pad(rows, ((0, 0), (0, stride - rows.shape[1]))).tobytes()
        file.bufferViews.append(gltf.BufferView(
            buffer=0, byteOffset=len(blob), byteLength=len(data), byteStride=stride, target=gltf.ARRAY_BUFFER))
        file.accessors.append(gltf.Accessor(
            bufferView=len(file.bufferViews) - 1, componentType=TYPES[values.dtype.name], count=len(values),
            type=f"VEC{values.shape[1]}", normalized=values.dtype != np.float32,
            min=values.min(0).tolist() if name == "POSITION" else None,
            max=values.max(0).tolist() if name == "POSITION" else None))
        blob += data
    file.buffers = [gltf.Buffer(byteLength=len(blob))]
    slots = gltf.Attributes(**{name: i for i, name in enumerate(attributes)})
    file.materials = [gltf.Material(pbrMetallicRoughness=gltf.PbrMetallicRoughness())] if "TEXCOORD_0" in attributes else []
    file.meshes = [gltf.Mesh(primitives=[gltf.Primitive(attributes=slots, material=0 if file.materials else None)])]
    file.nodes, file.scenes, file.scene = [gltf.Node(mesh=0)], [gltf.Scene(nodes=[0])], 0
    file.extensionsUsed = file.extensionsRequired = list(extensions)
    file.set_binary_blob(blob)
    file.save_binary(path)
    return trimesh.load(path, force="mesh", process=False)


where = sys.argv[1]
short, byte = np.array([[65535, 32768, 16384, 65535]] * 3, np.uint16), np.array([[255, 128, 64, 255]] * 3, np.uint8)
mesh = {
    "short": write(f"{where}/a.glb", POSITION=CORNERS, COLOR_0=short),
    "byte": write(f"{where}/b.glb", POSITION=CORNERS, COLOR_0=byte),
    "float": write(f"{where}/c.glb", POSITION=CORNERS, COLOR_0=(byte / 255).astype(np.float32)),
    "texture": write(f"{where}/d.glb", POSITION=CORNERS, TEXCOORD_0=np.array([[32768, 16384]] * 3, np.uint16)),
    "place": write(f"{where}/e.glb", ["KHR_mesh_quantization"], POSITION=(CORNERS * 16384).astype(np.int16)),
}
seen = {name: mesh[name].visual.vertex_colors[0].tolist() for name in ("short", "byte", "float")}
seen |= {"texture": mesh["texture"].visual.uv[0].tolist(), "place": mesh["place"].vertices[1].tolist()}
print(f"trimesh {trimesh.__version__}: {seen}")
wanted = {"short": [255, 0, 0, 255], "byte": [255, 128, 64, 255], "float": [255, 128, 64, 255],
          "texture": [32768.0, 49153.0], "place": [16384.0, 0.0, 0.0]}
assert seen == wanted, f"the behaviour changed: expected {wanted}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
