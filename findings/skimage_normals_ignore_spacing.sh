#!/usr/bin/env bash
# The normals that marching_cubes returns are those of a grid of cubes, whatever the spacing of the slices is.
#
# Expected (written down before the run): the normals stand on the surface that is returned, for any spacing.
# Seen with scikit-image 0.26.0 and numpy 2.4.6, 2026-11-29, for the signed distances of a sphere of radius 20:
#   spacing     normals off the radius, mean and largest     normals computed from the returned faces, largest
#   (1, 1, 1)                       0.5 and  1.3 degrees                                           1.2 degrees
#   (1, 1, 3)                      22.2 and 33.7 degrees                                           3.9 degrees
# The vertices are multiplied by the spacing and the normals, differences of neighbouring samples, are not divided by
# it: normals / spacing, made unit again, are right to 4.1 degrees. The documentation calls them "the normal direction
# at each vertex, as calculated from the data". They always point to the smaller values, so they contradict the faces
# for signed distances (greater outside) with the default gradient_direction, whose left-hand rule, which is documented,
# gives faces that look outwards: gradient_direction turns the faces over and not the normals. trimesh 5.2.0 hands such
# normals on: those of VoxelGrid.marching_cubes all point into the object, and its faces all outwards.
# So a surface from a grid with thick slices, or from voxels, is shaded from a wrong side, though its shape is right.
#
# Usage: findings/skimage_normals_ignore_spacing.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q scikit-image==0.26.0 numpy==2.4.6 scipy==1.17.1 trimesh==5.2.0
cat > "$folder/see.py" <<'PYTHON'
import numpy as np
import skimage
import trimesh
from skimage.measure import marching_cubes


def angles(first, second):
    """Return the largest and the mean angle, in degrees, between the rows of two arrays of vectors."""
    cosine = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    return [round(float(f(np.degrees(np.arccos(np.clip(cosine, -1, 1))))), 1) for f in (np.mean, np.max)]


def centres(count):
    """Return the coordinates of a grid's samples, in samples from the middle of the grid."""
    return np.stack(np.meshgrid(*[np.arange(k) - (k - 1) / 2 for k in count], indexing="ij"), -1)


seen, volume = {}, 4 / 3 * np.pi * 20**3
for thickness in (1, 3):
    spacing, count = np.array([1, 1, thickness]), np.array([48, 48, 48 // thickness])
    distances = np.linalg.norm(centres(count) * spacing, axis=-1) - 20
    for direction in ("descent", "ascent"):
        vertices, faces, normals, _ = marching_cubes(distances, 0, spacing=spacing, gradient_direction=direction)
        inwards = (count - 1) / 2 * spacing - vertices
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        sign = round(float(mesh.volume / volume), 1)
        seen[thickness, direction] = {
            "returned": angles(normals, inwards), "divided": angles(normals / spacing, inwards),
            "faces": angles(mesh.vertex_normals, -inwards * sign), "volume": sign}
        print(f"scikit-image {skimage.__version__}, {thickness}, {direction}: {seen[thickness, direction]}")
voxels = trimesh.voxel.VoxelGrid(np.linalg.norm(centres([12] * 3), axis=-1) < 5).marching_cubes
middle = voxels.vertices.mean(0)
outward = [float(((n * (p - middle)).sum(1) > 0).mean()) for n, p in (
    (voxels.vertex_normals, voxels.vertices), (voxels.face_normals, voxels.triangles_center))]
print(f"trimesh {trimesh.__version__}: vertex normals and faces of voxels that look outwards {outward}")

for direction, sign in (("descent", 1), ("ascent", -1)):
    cubes, slices = seen[1, direction], seen[3, direction]
    assert cubes["returned"][1] < 2 and cubes["faces"][1] < 2, "the behaviour changed with cubes"
    assert 21 < slices["returned"][0] < 24 and 32 < slices["returned"][1] < 36, "the behaviour changed with slices"
    assert slices["divided"][1] < 5 and slices["faces"][1] < 5, "the behaviour changed: the surface itself"
    assert cubes["volume"] == slices["volume"] == sign, "the behaviour changed: the side of the faces"
assert outward == [0.0, 1.0], "the behaviour changed with trimesh's voxels"
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
