#!/usr/bin/env bash
# trimesh samples the colours of a surface by face, or from a texture that drifts by a texel each time it repeats.
#
# Expected (written down before the run): sample_surface(mesh, count, sample_color=True) mixes the colours of a face's
# vertices at the point (barycentric), and looks a texture up as glTF's samplers do: texel centres at (i + 0.5) / width,
# bilinear, repeated beyond 1, within 2 of 255.
# Seen with trimesh 5.2.0 and numpy 2.4.6, 2026-11-29:
#   a square with a ramp of vertex colours from black to white: all points have one of two greys, 85 and 170, the means
#     of the two faces, and are up to 168 of 255 off
#   a texture of 256 columns, red = column, 8 times across the square: in repetition k = 0 to 7, columns are k too low
#   a palette of 8 x 8 texels, 4 times each way: one point in 20 gets its texel from uv_to_color, which to_color uses;
#     even without a repetition it is 62 %, half a texel being lost towards the edges
# Coordinates are multiplied by width - 1 and wrapped at width, in uv_to_color and in uv_to_interpolated_color. The
# documentation of sample_color says "calculate the color of the sampled points"; no word of faces. The positions are
# right, and return_barycentric=True gives the weights to mix colours with.
# So coloured point clouds made from meshes, to train on or to score with, show flat triangles and shifted tiles.
#
# Usage: findings/trimesh_sampled_colours.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q trimesh==5.2.0 numpy==2.4.6 pillow==13.0.0 scipy==1.17.1
cat > "$folder/see.py" <<'PYTHON'
import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import uv_to_color

CORNERS, FACES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float), np.array([[0, 1, 2], [0, 2, 3]])


def sample(**look):
    """Return the positions in the unit square and the colours of 20000 points of it."""
    mesh = trimesh.Trimesh(CORNERS, FACES, process=False, **look)
    points, _, colours = trimesh.sample.sample_surface(mesh, 20000, sample_color=True, seed=0)
    return points[:, :2], colours[:, :3].astype(int)


grey = np.repeat(CORNERS[:, :1] * 255, 3, axis=1).astype(np.uint8)
places, colours = sample(vertex_colors=grey)
greys, worst = np.unique(colours[:, 0]).tolist(), float(np.abs(colours[:, 0] - places[:, 0] * 255).max())
print(f"trimesh {trimesh.__version__}, vertex colours: greys {greys}, up to {worst:.1f} off")
assert greys == [85, 170] and worst > 160, "the behaviour changed: vertex colours are mixed"

columns = np.zeros((4, 256, 3), np.uint8)
columns[..., 0] = np.arange(256)
visual = trimesh.visual.TextureVisuals(uv=CORNERS[:, :2] * [8, 1], image=Image.fromarray(columns))
places, colours = sample(visual=visual)
turn, column = np.divmod(places[:, 0] * 8 * 256, 256)
inside = (column > 20) & (column < 236)  # away from the jump from 255 to 0
low = [float(np.median((column - 0.5 - colours[:, 0])[inside & (turn == k)])) for k in range(8)]
print("columns too low, by repetition:", [round(value, 1) for value in low])
assert np.allclose(low, np.arange(8), atol=0.6), "the behaviour changed: repeated textures"

palette = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
right = {}
for times in (1, 4):
    uv = places * times
    texel = palette[np.floor((1 - uv[:, 1]) * 8).astype(int) % 8, np.floor(uv[:, 0] * 8).astype(int) % 8]
    right[times] = float((uv_to_color(uv, Image.fromarray(palette))[:, :3] == texel).all(1).mean())
print("points with their texel, by the number of repetitions:", right)
assert 0.58 < right[1] < 0.66 and right[4] < 0.1, "the behaviour changed: the nearest texel"
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
