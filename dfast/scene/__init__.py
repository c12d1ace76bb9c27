"""The scene that is optimised, and what an image of it needs: cameras, rays, lighting, background.

Nothing here knows of training.
"""

from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch, aimed, look_at, orbit, spherical
from dfast.scene.lighting import SHADING_MODES, Lighting, fixed_lighting
from dfast.scene.rays import RayBatch
from dfast.scene.scene import Scene
from dfast.scene.views import VIEW_WORDS

__all__ = [
    "SHADING_MODES",
    "VIEW_WORDS",
    "Background",
    "CameraBatch",
    "Lighting",
    "RayBatch",
    "Scene",
    "aimed",
    "fixed_lighting",
    "look_at",
    "orbit",
    "spherical",
]
