#!/usr/bin/env bash
# trimesh puts a glTF texture in the wrong place: it reads neither KHR_texture_transform nor a second set of coordinates.
#
# Expected (written down before the run): where a texture says which set of coordinates it has ("texCoord": 1) and how they
# are moved and scaled (KHR_texture_transform), the mesh comes with those coordinates, moved and scaled, or with a warning.
# Seen with trimesh 5.2.0, 2026-11-30: TEXCOORD_0 as stored in all three cases, without a word, also where the file says
# that its reader must know the extension (extensionsRequired). TEXCOORD_1 is in no attribute of the mesh.
# Atlases and tiled materials are stored in this way, and one that is repeated four times arrives once.
#
# Usage: findings/trimesh_gltf_texture_placement.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q trimesh==5.2.0 pygltflib==1.16.5 numpy==2.4.6 pillow==13.0.0
cat > "$folder/see.py" <<'PYTHON'
import base64
import io
import sys
import warnings

import numpy as np
import pygltflib as gltf
import trimesh
from PIL import Image

EXTENSION = "KHR_texture_transform"
ARRAYS = {
    "POSITION": np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32),
    "TEXCOORD_0": np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32),
    "TEXCOORD_1": np.array([[0.5, 0.5], [0.75, 0.5], [0.5, 0.75]], np.float32),
}


def read(path, texture, required=()):
    """Write a textured triangle with two sets of coordinates, and return what trimesh makes of it."""
    file, blob = gltf.GLTF2(), b""
    for name, values in ARRAYS.items():
        bounds = {"min": values.min(0).tolist(), "max": values.max(0).tolist()} if name == "POSITION" else {}
        file.bufferViews.append(gltf.BufferView(buffer=0, byteOffset=len(blob), byteLength=values.nbytes))
        file.accessors.append(gltf.Accessor(
            bufferView=len(file.bufferViews) - 1, componentType=gltf.FLOAT, count=3,
            type=f"VEC{values.shape[1]}", **bounds))
        blob += values.tobytes()
    picture = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(picture, "PNG")
    url = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    file.images, file.textures = [gltf.Image(uri=url)], [gltf.Texture(source=0)]
    file.materials = [gltf.Material(pbrMetallicRoughness=gltf.PbrMetallicRoughness(
        baseColorTexture=gltf.TextureInfo(index=0, **texture)))]
    slots = gltf.Attributes(**{name: i for i, name in enumerate(ARRAYS)})
    file.buffers = [gltf.Buffer(byteLength=len(blob))]
    file.meshes = [gltf.Mesh(primitives=[gltf.Primitive(attributes=slots, material=0)])]
    file.nodes, file.scenes, file.scene = [gltf.Node(mesh=0)], [gltf.Scene(nodes=[0])], 0
    file.extensionsUsed = [EXTENSION] if "extensions" in texture else []
    file.extensionsRequired = list(required)
    file.set_binary_blob(blob)
    file.save_binary(path)
    return trimesh.load(path, force="mesh", process=False)


where = sys.argv[1]
moved = {"extensions": {EXTENSION: {"offset": [0.5, 0.0], "scale": [4.0, 4.0]}}}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    mesh = {
        "moved": read(f"{where}/a.glb", moved),
        "required": read(f"{where}/b.glb", moved, [EXTENSION]),
        "second set": read(f"{where}/c.glb", {"texCoord": 1}),
    }
flipped = ARRAYS["TEXCOORD_0"] * [1.0, -1.0] + [0.0, 1.0]  # trimesh's v points up
for name, one in mesh.items():
    print(f"trimesh {trimesh.__version__}: {name}: {one.visual.uv.tolist()}, attributes {list(one.vertex_attributes)}")
    assert np.array_equal(one.visual.uv, flipped), f"{name}: the behaviour changed"
    assert not one.vertex_attributes, f"{name}: the behaviour changed"
about = [str(one.message) for one in said if "texture" in str(one.message).lower()]
assert not about, f"the behaviour changed: it warns {about}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
