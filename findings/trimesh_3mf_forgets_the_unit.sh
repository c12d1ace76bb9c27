#!/usr/bin/env bash
# A 3MF file in inches becomes one in millimetres, of a 25th of the size, when trimesh loads and saves it.
#
# Expected (written down before the run): trimesh loads a 3MF file in inches as a scene with units of inches and saves
# it with that unit again, or with its numbers in millimetres.
# Seen with trimesh 5.2.0 and lib3mf 2.5.0, 2026-11-29: the unit is read (scene.units is "inch"), and the file that is
# saved says unit="millimeter" with the numbers unchanged, so that lib3mf, as a slicer would, finds a cube of 1 mm
# where there was one of 25.4 mm. The unit is a fixed word in the exporter, and a mesh with units = "meter" is a
# thousandth of its size. scene.convert_units("millimeter") before saving gives the right size.
# So a pass through trimesh, to mend or to simplify an object before it is printed, shrinks it, and no program can
# tell.
#
# Usage: findings/trimesh_3mf_forgets_the_unit.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q trimesh==5.2.0 lib3mf==2.5.0 numpy==2.4.6 lxml==6.1.3 networkx==3.6.1
cat > "$folder/see.py" <<'PYTHON'
import sys

import lib3mf
import trimesh

MILLIMETRES = {lib3mf.ModelUnit.MilliMeter: 1.0, lib3mf.ModelUnit.Inch: 25.4, lib3mf.ModelUnit.Meter: 1000.0}
where, wrapper = sys.argv[1], lib3mf.get_wrapper()


def write(path, unit):
    """Write a cube with edges of one unit."""
    model, cube = wrapper.CreateModel(), trimesh.creation.box()
    model.SetUnit(unit)
    mesh = model.AddMeshObject()
    for place in cube.vertices:
        position = lib3mf.Position()
        position.Coordinates[:] = place
        mesh.AddVertex(position)
    for corners in cube.faces:
        triangle = lib3mf.Triangle()
        triangle.Indices[:] = corners
        mesh.AddTriangle(triangle)
    model.AddBuildItem(mesh, wrapper.GetIdentityTransform())
    model.QueryWriter("3mf").WriteToFile(path)
    return path


def edge(path):
    """Return the length of the cube in millimetres, as lib3mf reads it."""
    model = wrapper.CreateModel()
    model.QueryReader("3mf").ReadFromFile(path)
    box = model.GetOutbox()
    return (box.MaxCoordinate[0] - box.MinCoordinate[0]) * MILLIMETRES[model.GetUnit()]


seen = {}
for name, unit in (("inch", lib3mf.ModelUnit.Inch), ("meter", lib3mf.ModelUnit.Meter)):
    path = write(f"{where}/{name}.3mf", unit)
    scene = trimesh.load_scene(path)
    scene.export(f"{where}/{name}-saved.3mf")
    scene.convert_units("millimeter").export(f"{where}/{name}-converted.3mf")
    lengths = (edge(path), edge(f"{where}/{name}-saved.3mf"), edge(f"{where}/{name}-converted.3mf"))
    seen[scene.units] = tuple(round(length, 3) for length in lengths)
print(f"trimesh {trimesh.__version__}, lib3mf {wrapper.GetLibraryVersion()}: mm before, saved, converted and saved: {seen}")
assert seen == {"inch": (25.4, 1.0, 25.4), "meter": (1000.0, 1.0, 1000.0)}, "the behaviour changed: expected 1 mm when saved"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
