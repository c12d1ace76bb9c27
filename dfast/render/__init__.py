"""From a scene to images: the volume renderer and what it returns."""

from dfast.render.outputs import RayRender, Rendered
from dfast.render.volume import render, render_rays

__all__ = ["RayRender", "Rendered", "render", "render_rays"]
