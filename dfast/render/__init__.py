"""From a scene or a mesh to images: the renderers, their options, and what they return."""

from dfast.render.mesh import MeshRendering, Surface, render_mesh
from dfast.render.options import RenderOptions
from dfast.render.outputs import RayRender, Rendering
from dfast.render.volume import render, render_rays

__all__ = [
    "MeshRendering",
    "RayRender",
    "RenderOptions",
    "Rendering",
    "Surface",
    "render",
    "render_mesh",
    "render_rays",
]
