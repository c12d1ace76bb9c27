"""The procedural world: what sentences say, and the true 3D objects of them.

Sentences are read without torch: what needs it is imported at its first use.

    build_scene(read("two corgis in red hats").sentence)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfast.world.reading import Reading, read
from dfast.world.sentence import Sentence, Thing

if TYPE_CHECKING:
    from dfast.world.build import build_scene
    from dfast.world.scenes import ProceduralScene

__all__ = ["ProceduralScene", "Reading", "Sentence", "Thing", "build_scene", "read"]

_WITH_TORCH = {"ProceduralScene": "dfast.world.scenes", "build_scene": "dfast.world.build"}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'dfast.world' has no attribute {name!r}")
    return getattr(import_module(_WITH_TORCH[name]), name)
