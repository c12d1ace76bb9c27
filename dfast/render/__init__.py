"""From a scene to images: the volume renderer, its options, and what it returns."""

from dfast.render.options import RenderOptions
from dfast.render.outputs import RayRender, Rendering
from dfast.render.volume import render, render_rays

__all__ = ["RayRender", "RenderOptions", "Rendering", "render", "render_rays"]
