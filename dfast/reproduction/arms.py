"""What is compared: the methods of table 1, or the steps of the ablation of figure 6."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfast._numbers import shown
from dfast.config import Config
from dfast.config.methods import DEFAULT, METHODS
from dfast.config.presets import Table
from dfast.errors import ConfigError

ORDER = ("dream-fields", "clip-mesh", "dreamfusion", DEFAULT)
"""Methods of table 1, those of the paper in its order; what is not in `METHODS` is left out."""

QUICK: Table = {
    "field": {"ipe": {"frequencies": 6, "directions": "axes", "width": 32, "blocks": 2}},
    "occupancy": {"resolution": 32},
    "march": {"step_size": 2.0 / 40},
    "camera": {"views": 2, "resolution": [[0.0, 24]]},
    "train": {"steps": 60, "preview_every": 0, "checkpoint_every": 30},
}
"""Changes with which a run takes a minute or so on a CPU; objects are rough."""
QUICK_SECTIONS: Table = {
    "dream_fields": {"crops": 2},
    "clip_mesh": {"control": 8, "texels": 64},
}
"""Changes of sections that some methods alone read."""


@dataclass(frozen=True)
class Arm:
    """A row of a table: runs with the same settings."""

    name: str
    """A part of the names of its run folders."""
    title: str
    """What the table calls it."""
    config: Config
    """All settings of its runs."""
    clip: str = ""
    """The CLIP that guides it; "" for none."""


Resolve = Callable[[str, Sequence[Table]], Config]
"""Returns the settings of a method with tables laid over them."""


def quick_settings(method: str) -> Table:
    """Return the changes that make a run of a method short.

    Args:
        method: one of `METHODS`.
    """
    own = METHODS[method].sections if method in METHODS else ()
    return {**QUICK, **{name: QUICK_SECTIONS[name] for name in own if name in QUICK_SECTIONS}}


def settings_by_method(tables: object) -> dict[str, Table]:
    """Return the settings that single methods are given.

    Args:
        tables: by the name of the method, or None.

    Raises:
        ConfigError: no tables by the names of methods.
    """
    if tables is None:
        return {}
    if not isinstance(tables, Mapping) or not all(isinstance(t, Mapping) for t in tables.values()):
        raise ConfigError(
            f"method_config: expected tables of settings by method, got {shown(tables)}"
        )
    for name in tables:
        if name not in METHODS:
            raise ConfigError(
                f"method_config: expected some of {', '.join(METHODS)}, got {shown(name)}"
            )
    return {name: dict(table) for name, table in tables.items()}


def methods_of(names: Sequence[str] | None, guide: str) -> tuple[str, ...]:
    """Return the methods of table 1.

    Args:
        names: those that were asked for; None takes all of `ORDER` that can be run.
        guide: the CLIP of methods that a CLIP guides; "" for none.

    Raises:
        ConfigError: one that is not there, or whose CLIP is missing.
    """
    if names is None:
        known = [name for name in ORDER if name in METHODS]
        return tuple(name for name in known if guide or METHODS[name].guide != "clip")
    if not names or not isinstance(names, list | tuple):
        raise ConfigError(
            f"methods: expected a list of some of {', '.join(METHODS)}, got {shown(names)}"
        )
    for name in names:
        if name not in METHODS:
            raise ConfigError(f"methods: expected some of {', '.join(METHODS)}, got {shown(name)}")
        if METHODS[name].guide == "clip" and not guide:
            raise ConfigError(
                f"guide: expected the CLIP that guides {name!r}, a folder of transformers or a hub "
                "id, got none"
            )
    return tuple(dict.fromkeys(names))


def usual_guide(what: str, prior: str) -> str:
    """Return the CLIP of methods that a CLIP guides where none is named: the embedded one or "".

    Args:
        what: "table1", or "ablation", of which no part is guided by a CLIP.
        prior: name of the diffusion model.
    """
    return "shapes" if what == "table1" and prior == "shapes" else ""


def left_out() -> tuple[str, ...]:
    """Return the methods of `ORDER` that cannot be run without a CLIP that guides them."""
    return tuple(name for name in ORDER if name in METHODS and METHODS[name].guide == "clip")


def table1(methods: Sequence[str], guide: str, resolve: Resolve) -> tuple[Arm, ...]:
    """Return an arm for each method.

    Args:
        methods: what `methods_of` returned.
        guide: the CLIP of methods that a CLIP guides.
        resolve: makes their settings.
    """
    arms = []
    for name in methods:
        clip = guide if METHODS[name].guide == "clip" else ""
        arms.append(Arm(name, name, resolve(name, []), clip))
    return tuple(arms)


def ablation(method: str, resolve: Resolve) -> tuple[Arm, ...]:
    """Return the arms of figure 6, each with one more of DreamFusion's ingredients.

    The first has narrow views, prompts without view words and no light; then come wide views, view
    words, light, and surfaces without texture. The last is the method itself.

    Args:
        method: what is taken apart; one that a prior guides.
        resolve: makes its settings.

    Raises:
        ConfigError: a method that a CLIP guides, or that is not there.
    """
    if method not in METHODS or METHODS[method].guide == "clip":
        known = [name for name, found in METHODS.items() if found.guide == "prior"]
        raise ConfigError(f"method: expected one of {', '.join(known)}, got {shown(method)}")
    whole = resolve(method, [])
    off = (_narrow(whole), _without_view_words(), _unlit(), _textured(whole))
    names = ("narrow", "wide-views", "view-words", "lighting", "textureless")
    titles = ("narrow views", "+ wide views", "+ view words", "+ lighting", "+ textureless")
    arms = []
    for count, (name, title) in enumerate(zip(names, titles, strict=True)):
        # Without light there are no textureless views either, so later tables come first.
        tables = list(reversed(off[count:]))
        arms.append(Arm(name, title, resolve(method, tables)))
    return tuple(arms)


def _narrow(config: Config) -> dict[str, Any]:
    """Return the views of Dream Fields: one height, distance and angle of view, no jitter."""
    camera = config.camera
    still = {name: [0.5 * sum(getattr(camera, name))] * 2 for name in ("distance", "fov")}
    jitter = dict.fromkeys(("position_jitter", "lookat_jitter", "up_jitter"), 0.0)
    return {"camera": {"elevation": [30.0, 30.0], **still, **jitter}}


def _without_view_words() -> dict[str, Any]:
    """Return settings whose prompts do not depend on the view."""
    return {"guidance": {"view_conditioning": "none", "perp_neg": False}}


def _unlit() -> dict[str, Any]:
    """Return settings without light: every view shows the albedo."""
    return {"shading": {"albedo": 1.0, "diffuse": 0.0, "textureless": 0.0}}


def _textured(config: Config) -> dict[str, Any]:
    """Return settings whose textureless views are lit views with texture instead."""
    shading = config.shading
    return {"shading": {"diffuse": shading.diffuse + shading.textureless, "textureless": 0.0}}
