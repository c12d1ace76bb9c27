"""The procedural world: sentences, their true 3D objects, the training of the embedded prior.

Sentences can be read without torch: `ProceduralScene` is imported at its first use.
"""

from typing import TYPE_CHECKING, Any

from dfast.world.grammar import catalogue, parse

if TYPE_CHECKING:
    from dfast.world.scenes import ProceduralScene

__all__ = ["ProceduralScene", "catalogue", "parse"]


def __getattr__(name: str) -> Any:
    if name != "ProceduralScene":
        raise AttributeError(f"module 'dfast.world' has no attribute {name!r}")
    from dfast.world.scenes import ProceduralScene

    return ProceduralScene
