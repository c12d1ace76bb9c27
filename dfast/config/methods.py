"""Ways from a prompt to an object, by the names under which a run can choose them.

A method is a table of settings, the kind of model that guides it and the kind of object that it
makes. `dfast.training.build` makes its trainer of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from dfast.config import clip_mesh, dream_fields
from dfast.config.checks import check
from dfast.config.presets import Table, named

DEFAULT = "dfast"
"""The method of a run that names none."""


@dataclass(frozen=True)
class Method:
    """A way from a prompt to an object."""

    about: str
    """What it is, and its source, for help and documents."""
    settings: Callable[[str, str], Table] | None = None
    """Settings of a run on a device such as "cpu" or "cuda:1" with a prior of a family, which is
    "" where it has none; None: those of the prior's family."""
    guide: Literal["prior", "clip"] = "prior"
    """What judges the images: a diffusion model, or a CLIP."""
    shape: Literal["field", "mesh"] = "field"
    """What is optimised."""
    sections: tuple[str, ...] = ()
    """Sections of `Config` that this method alone reads, and whose files alone hold them."""


METHODS: dict[str, Method] = {
    DEFAULT: Method("score distillation with dfast's own settings"),
    "dreamfusion": Method(
        "as published, but for Adam (Poole et al. 2022)", partial(named, "dreamfusion")
    ),
    "dream-fields": Method(
        "a field seen by a CLIP (Jain et al. 2022)",
        dream_fields.settings,
        guide="clip",
        sections=("dream_fields",),
    ),
    "clip-mesh": Method(
        "a mesh seen by a CLIP (Khalid et al. 2022)",
        clip_mesh.settings,
        guide="clip",
        shape="mesh",
        sections=("clip_mesh",),
    ),
}
"""Every method by its name."""


@dataclass(frozen=True)
class MethodConfig:
    """Which method a run follows."""

    name: str = DEFAULT
    """One of the names that `dfast train --help` lists for --method."""

    def __post_init__(self) -> None:
        check("method", "name", self.name, self.name in METHODS, f"one of {', '.join(METHODS)}")


def guided_by(name: object, guide: Literal["prior", "clip"]) -> bool:
    """Return whether a name is that of a method that such a model guides.

    Args:
        name: anything.
        guide: a diffusion model, or a CLIP.
    """
    method = METHODS.get(name) if isinstance(name, str) else None
    return method is not None and method.guide == guide


def unused_sections(name: str) -> frozenset[str]:
    """Return the sections of `Config` that a method leaves at their defaults and out of files.

    Args:
        name: of the method, one of `METHODS`.
    """
    others = {section for method in METHODS.values() for section in method.sections}
    own = {"method"} if name == DEFAULT else set()
    return frozenset(others - set(METHODS[name].sections) | own)
