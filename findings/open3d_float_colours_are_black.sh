#!/usr/bin/env bash
# A coloured point cloud that Open3D's tensor API saves as PLY is black when Open3D's other API, or VTK, reads it.
#
# Expected (written down before the run): colours of type float in a PLY file, from 0 to 1, are read as these fractions,
# which is how Open3D has colours in memory.
# Seen with open3d 0.20.0, vtk 9.7.2, trimesh 5.2.0 and numpy 2.4.6, 2026-11-30, for points coloured (1, 0.5, 0.25):
#   open3d.t.io.write_point_cloud    writes "property float red" and 1 0.5 0.25, in ASCII and in binary
#   open3d.t.io.read_point_cloud     1, 0.5, 0.25
#   trimesh                          255, 128, 64
#   open3d.io.read_point_cloud       0.0039, 0.0020, 0.0010: each divided by 255
#   open3d.io.read_triangle_mesh     the same for the vertices of a mesh
#   vtkPLYReader                     0, 0, 0 of 255 in ASCII, 1, 0, 0 in binary
# Saved again by open3d.io the colours are the bytes 1, 1 and 0, and lost. Nothing is said. Meshes do not show it, since
# open3d.t.io.write_triangle_mesh writes bytes, and neither do clouds with colours in bytes.
# So a cloud that came from an older program (from_legacy gives float colours), was cleaned with tensors and saved, is
# black in the next step. Multiply by 255 and convert the colours to UInt8 before saving.
#
# Usage: findings/open3d_float_colours_are_black.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q open3d==0.20.0 vtk==9.7.2 trimesh==5.2.0 numpy==2.4.6 libusb-package==1.0.30.0
# Open3D's wheel wants libusb from the system; where there is none, the package above has one.
ln -s "$("$folder/venv/bin/python" -c 'import libusb_package; print(libusb_package.get_library_path())')" \
    "$folder/libusb-1.0.so.0"
cat > "$folder/see.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import open3d
import trimesh
import vtk
from vtk.util.numpy_support import vtk_to_numpy

WHERE = sys.argv[1]
POINTS = np.random.default_rng(0).random((3, 3)).astype(np.float32)
COLOUR = np.array([1, 0.5, 0.25], np.float32)
HEADER = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(
    f"property float {name}\n" for name in ("x", "y", "z", "red", "green", "blue"))


def by_vtk(path):
    """Return the colours as VTK reads them."""
    reader = vtk.vtkPLYReader()
    reader.SetFileName(path)
    reader.Update()
    return vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())


def first(colours):
    """Return the first of the colours, after a look whether they are all the same."""
    colours = np.asarray(colours)[:, :3]
    assert (colours == colours[0]).all(), "the behaviour changed: colours differ"
    return [round(float(value), 4) for value in colours[0]]


legacy = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(POINTS))
legacy.paint_uniform_color(COLOUR)
cloud = open3d.t.geometry.PointCloud.from_legacy(legacy)
seen = {}
for kind in (True, False):
    path = f"{WHERE}/{'text' if kind else 'binary'}.ply"
    open3d.t.io.write_point_cloud(path, cloud, write_ascii=kind)
    with open(path, "rb") as file:
        assert b"property float red" in file.read(), "the behaviour changed: the type in the file"
    loaded = open3d.io.read_point_cloud(path)
    open3d.io.write_point_cloud(f"{WHERE}/again.ply", loaded)
    seen[kind] = {
        "tensor": first(open3d.t.io.read_point_cloud(path).point.colors.numpy()),
        "trimesh": first(trimesh.load(path).colors),
        "legacy": first(loaded.colors),
        "again": first(255 * np.asarray(open3d.io.read_point_cloud(f"{WHERE}/again.ply").colors)),
        "vtk": first(by_vtk(path))}
with open(f"{WHERE}/mesh.ply", "w") as file:
    rows = "".join(" ".join(f"{value:.9g}" for value in [*point, *COLOUR]) + "\n" for point in POINTS)
    file.write(HEADER + "element face 1\nproperty list uchar int vertex_indices\nend_header\n" + rows + "3 0 1 2\n")
mesh = first(open3d.io.read_triangle_mesh(f"{WHERE}/mesh.ply").vertex_colors)
print(f"open3d {version('open3d')}, vtk {version('vtk')}: text {seen[True]}, binary {seen[False]}, mesh {mesh}")
dark = [0.0039, 0.002, 0.001]
for kind, values in seen.items():
    assert values["tensor"] == [1, 0.5, 0.25] and values["trimesh"] == [255, 128, 64], "the behaviour changed: right"
    assert values["legacy"] == dark and values["again"] == [1, 1, 0], "the behaviour changed: open3d.io"
    assert values["vtk"] == ([0, 0, 0] if kind else [1, 0, 0]), "the behaviour changed: VTK"
assert mesh == dark, "the behaviour changed: the mesh"
tensor_mesh = open3d.t.geometry.TriangleMesh(POINTS, np.array([[0, 1, 2]]))
tensor_mesh.vertex.colors = np.tile(COLOUR, (3, 1))
open3d.t.io.write_triangle_mesh(f"{WHERE}/mesh.ply", tensor_mesh)
mesh = first(open3d.io.read_triangle_mesh(f"{WHERE}/mesh.ply").vertex_colors)
assert np.allclose(mesh, COLOUR, atol=0.005), "the behaviour changed: meshes of the tensor API"
cloud.point.colors = np.tile(np.array([255, 128, 64], np.uint8), (3, 1))
open3d.t.io.write_point_cloud(f"{WHERE}/bytes.ply", cloud)
colour = first(open3d.io.read_point_cloud(f"{WHERE}/bytes.ply").colors)
assert np.allclose(colour, COLOUR, atol=0.005), "the behaviour changed: bytes"
PYTHON
LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$folder/venv/bin/python" "$folder/see.py" "$folder"
