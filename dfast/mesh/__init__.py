"""From a density field to triangle meshes and their files."""

from dfast.mesh.extract import extract_mesh
from dfast.mesh.mesh import Mesh

__all__ = ["Mesh", "extract_mesh"]
