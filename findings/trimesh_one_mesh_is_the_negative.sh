#!/usr/bin/env bash
# trimesh makes one mesh of a glTF file with two textures, and the colours become their negative.
#
# Expected (written down before the run): a scene of textured meshes becomes one mesh with one packed texture, and the
# colour at the centre of each face is what it was.
# Seen with trimesh 5.2.0, numpy 2.4.6 and pillow 13.0.0, 2026-11-29, for a scene of two textured squares:
#   baseColorFactor absent         (200, 100, 50) stays
#   baseColorFactor [1, 1, 1, 1]   (200, 100, 50) becomes (56, 156, 206), which is 256 minus each
#   baseColorFactor [.5, 1, 1, 1]  (200, 100, 50) becomes (0, 156, 206)
# by load(path, force="mesh") and by scene.to_mesh(). The factor is kept as bytes up to 255, and the packer multiplies
# the texture by it as if it were a fraction and casts to uint8, which wraps. A file with a single mesh is not packed
# and right.
# So a pass over generated objects that reads each as one mesh has false colours wherever an exporter wrote the factor
# out, though 1 is its default. Set material.baseColorFactor = None before.
#
# Usage: findings/trimesh_one_mesh_is_the_negative.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q trimesh==5.2.0 numpy==2.4.6 pillow==13.0.0 scipy==1.17.1 networkx==3.6.1
cat > "$folder/see.py" <<'PYTHON'
import sys

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

CORNERS, FACES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float), [[0, 1, 2], [0, 2, 3]]
COLOURS = (200, 100, 50), (40, 80, 120)


def colours(mesh):
    """Return the texture's colour at the centre of the first and of the last face."""
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    places = mesh.visual.uv[mesh.faces[[0, -1]]].mean(axis=1)
    row = ((1 - places[:, 1]) * texture.shape[0]).astype(int)
    return [tuple(x) for x in texture[row, (places[:, 0] * texture.shape[1]).astype(int)].tolist()]


seen = {}
for name, factor in (("absent", None), ("white", [1.0, 1.0, 1.0, 1.0]), ("half the red", [0.5, 1.0, 1.0, 1.0])):
    squares = []
    for k, colour in enumerate(COLOURS):
        material = PBRMaterial(name=str(k), baseColorTexture=Image.new("RGB", (8, 8), colour), baseColorFactor=factor)
        visual = TextureVisuals(uv=CORNERS[:, :2] * 0.9 + 0.05, material=material)
        squares.append(trimesh.Trimesh(CORNERS + [2 * k, 0, 0], FACES, visual=visual, process=False))
    path = f"{sys.argv[1]}/{name}.glb"
    trimesh.Scene(squares).export(path)
    scene = trimesh.load_scene(path)
    assert sorted(colours(mesh)[0] for mesh in scene.geometry.values()) == sorted(COLOURS)
    seen[name] = sorted(colours(scene.to_mesh()))
    assert seen[name] == sorted(colours(trimesh.load(path, force="mesh")))
print(f"trimesh {trimesh.__version__}: {seen}")
negative = [tuple((256 - x) % 256 for x in colour) for colour in COLOURS]
dark = [(colour[0] * 128 % 256, *rest[1:]) for colour, rest in zip(COLOURS, negative)]
wanted = {"absent": sorted(COLOURS), "white": sorted(negative), "half the red": sorted(dark)}
assert seen == wanted, f"the behaviour changed: expected {wanted}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder" 2>/dev/null
