"""What is optimised and how it is looked at: the scene, cameras, view words, lighting, background.

Nothing here knows of training.
"""

from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch, aimed, look_at, orbit, spherical
from dfast.scene.lighting import LOOKS, ShadingBatch, fixed_shading
from dfast.scene.views import VIEW_WORDS

__all__ = [
    "LOOKS",
    "VIEW_WORDS",
    "Background",
    "CameraBatch",
    "ShadingBatch",
    "aimed",
    "fixed_shading",
    "look_at",
    "orbit",
    "spherical",
]
