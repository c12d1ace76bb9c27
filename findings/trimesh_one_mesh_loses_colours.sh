#!/usr/bin/env bash
# trimesh makes one mesh of a scene, and a single part without a texture takes the colours of all the others away.
#
# Expected (written down before the run): one mesh of a textured part and a part with vertex colours, or a plain one,
# is textured or coloured such that each part looks as before; trimesh has code that turns vertex colours into a
# texture.
# Seen with trimesh 5.2.0, numpy 2.4.6 and pillow 13.0.0, 2026-11-29: by scene.to_mesh() and load(path, force="mesh")
# of a glTF file with both, the mesh has no visual at all, its kind is None and every vertex is the default grey (102,
# 102, 102), in either order of the parts. Two textured parts and two coloured parts keep theirs. The packer of
# materials raises AttributeError when PBRMaterial, which every glTF file gives, and SimpleMaterial, which stands for
# vertex colours, meet; the caller writes it to the debug log and goes on without colours.
# So a generated object with one part that nobody painted is scored, or rendered, as a grey one.
#
# Usage: findings/trimesh_one_mesh_loses_colours.sh     fails when the behaviour changes
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
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

CORNERS, FACES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float), [[0, 1, 2], [0, 2, 3]]


def square(kind, place):
    mesh = trimesh.Trimesh(CORNERS + [place, 0, 0], FACES, process=False)
    if kind == "textured":
        image = Image.new("RGB", (8, 8), (200, 10 * place, 50))
        mesh.visual = TextureVisuals(uv=CORNERS[:, :2], material=PBRMaterial(name=str(place), baseColorTexture=image))
    elif kind == "coloured":
        mesh.visual = ColorVisuals(mesh, vertex_colors=np.full((4, 4), 255 - 10 * place, np.uint8))
    return mesh


seen = {}
for pair in ("textured textured", "coloured coloured", "textured coloured", "coloured textured", "textured plain"):
    parts = [square(kind, 2 * k) for k, kind in enumerate(pair.split())]
    path = f"{sys.argv[1]}/{pair}.glb"
    trimesh.Scene(parts).export(path)
    one = trimesh.load_scene(path).to_mesh(), trimesh.load(path, force="mesh")
    assert one[0].visual.kind == one[1].visual.kind and len(one[0].faces) == 4
    seen[pair] = one[0].visual.kind
    if seen[pair] is None:
        assert (one[0].visual.vertex_colors == [102, 102, 102, 255]).all(), "the behaviour changed: not grey"
print(f"trimesh {trimesh.__version__}: {seen}")
wanted = {"textured textured": "texture", "coloured coloured": "vertex"}
wanted |= dict.fromkeys(("textured coloured", "coloured textured", "textured plain"))
assert seen == wanted, f"the behaviour changed: expected {wanted}"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder" 2>/dev/null
