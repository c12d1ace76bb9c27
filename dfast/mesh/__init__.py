"""From a density field to triangle meshes and their files."""

from dfast.mesh.density_grid import DensityField
from dfast.mesh.export import export_mesh
from dfast.mesh.extract import extract_mesh
from dfast.mesh.mesh import Mesh

__all__ = ["DensityField", "Mesh", "export_mesh", "extract_mesh"]
