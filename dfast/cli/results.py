"""`dfast render`, `dfast export` and `dfast report`: images, meshes, pages of finished runs."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast.cli.checks import check_device, check_ending, check_finished
from dfast.cli.importing import import_runs
from dfast.cli.options import Commands, UsageError, add_device, add_finished_run
from dfast.cli.output import say
from dfast.config.meshes import (
    FORMATS,
    PLAIN_FACES,
    TEXELS,
    TEXTURED_FACES,
    check_level,
    check_mesh,
    in_range,
)
from dfast.config.views import SHADING, check_view
from dfast.pages.html import PAGES

if TYPE_CHECKING:
    from dfast.runs.refined import Refined
    from dfast.runs.result import Result

IMAGES, FILMS = (".png", ".jpg", ".jpeg", ".webp"), (".gif", ".mp4")
"""Endings of what `render` writes, as in `dfast.io`, which imports numpy."""
GRID = 128
"""Cells a side of the grid in which `export` searches for a surface by default."""
DEFAULTS = {"azimuth": 30.0, "elevation": 15.0, "resolution": 256, "shading": "studio"}
"""What `render` shows unless options say otherwise; a film has a resolution of its own."""
FRAMES = 36
"""Frames of a turntable, unless --frames says otherwise."""


def add_render(commands: Commands[Any]) -> None:
    """Add the command `render` and its options."""
    p = commands.add_parser("render", help="an image, a contact sheet or a film of a finished run")
    p.set_defaults(run=render)
    add_finished_run(p)
    p.add_argument(
        "--out", required=True, metavar="FILE", help=".png or .jpg; .gif or .mp4 for a turntable"
    )
    p.add_argument(
        "--sheet",
        action="store_true",
        help="a contact sheet: five views in three shading modes, or in the one of --shading",
    )
    p.add_argument(
        "--azimuth",
        type=float,
        help=f"of an image, degrees; 0 is the front (default: {DEFAULTS['azimuth']:g})",
    )
    p.add_argument(
        "--elevation",
        type=float,
        help=f"of an image or a film, -90 to 90 degrees (default: {DEFAULTS['elevation']:g})",
    )
    p.add_argument(
        "--resolution",
        type=int,
        help=f"pixels a side of each view (default: {DEFAULTS['resolution']}, of a film 320)",
    )
    p.add_argument("--shading", choices=SHADING, help=f"(default: {DEFAULTS['shading']})")
    p.add_argument("--frames", type=int, help=f"of a film (default: {FRAMES})")
    add_device(p, "cpu")


def add_export(commands: Commands[Any]) -> None:
    """Add the command `export` and its options."""
    p = commands.add_parser("export", help="a mesh of a finished run")
    p.set_defaults(run=export)
    add_finished_run(p)
    p.add_argument(
        "out",
        metavar="FILE",
        help=".glb, .obj or .usdz (textured), .ply (coloured), .3mf or .stl (for printers)",
    )
    p.add_argument(
        "--faces",
        type=int,
        metavar="N",
        help="most triangles (default: "
        f"{TEXTURED_FACES} for a textured file, {PLAIN_FACES} for another)",
    )
    colors = p.add_mutually_exclusive_group()
    colors.add_argument(
        "--texture", type=int, metavar="N", help=f"texels along a side (default: {TEXELS})"
    )
    colors.add_argument(
        "--vertex-colors", action="store_true", help="colours at the vertices, not textures"
    )
    p.add_argument(
        "--size",
        type=float,
        metavar="METRES",
        help="largest extent (default: a world unit is a metre, so about 1.5; 0.1 for printers)",
    )
    p.add_argument(
        "--resolution",
        type=int,
        help="cells along a side of the grid that is searched for the surface, 8 to 512 "
        f"(default: {GRID})",
    )
    p.add_argument(
        "--level", type=float, help="density of the surface (default: the rendered silhouettes')"
    )
    add_device(p, "cpu")


def add_report(commands: Commands[Any]) -> None:
    """Add the command `report` and its options."""
    p = commands.add_parser("report", help="one HTML page about a finished run")
    p.set_defaults(run=report)
    add_finished_run(p)
    p.add_argument(
        "--out",
        metavar="FILE",
        help=".html (default: report.html in RUN); it shows scores if RUN/scores.json is there: "
        "dfast evaluate RUN --json RUN/scores.json",
    )
    add_device(p, "cpu")


def render(options: Namespace) -> int:
    """Write a view, a contact sheet or a turntable of a finished run."""
    ending = check_ending(options.out, (*IMAGES, *FILMS))
    kind = "film" if ending in FILMS else "sheet" if options.sheet else "image"
    view = _view(options, kind)

    from dfast.io.images import save_image
    from dfast.io.video import check_frames, require_av

    if ending == ".mp4":
        require_av()
    frames = FRAMES if options.frames is None else check_frames(options.frames)
    result = _load(options)
    if kind == "film":
        result.turntable(options.out, frames=frames, **view)
    elif kind == "sheet":
        result.contact_sheet(options.out, **view)
    else:
        save_image(result.render(**view), options.out)
    print(user_path(options.out))
    return 0


def _view(options: Namespace, kind: str) -> dict[str, Any]:
    """Return the options of a view, checked, as `Result` takes them.

    Args:
        options: the parsed command line.
        kind: "film", "sheet" or "image".
    """
    unused = {
        "film": ("azimuth", "sheet"),
        "sheet": ("azimuth", "elevation", "frames"),
        "image": ("frames",),
    }[kind]
    for name in unused:
        if getattr(options, name) not in (None, False):
            what = {"film": "a film turns all around", "sheet": "a contact sheet has its own views"}
            reason = what.get(kind, "an image has one frame; write a .gif or .mp4")
            raise UsageError(f"--{name}: expected without it, since {reason}")
    given = {name: getattr(options, name) for name in DEFAULTS}
    given = {name: value for name, value in given.items() if value is not None}
    check_view(**given)
    defaults = {name: value for name, value in DEFAULTS.items() if name not in unused}
    if kind == "sheet":
        del defaults["shading"]
    elif kind == "film":
        del defaults["resolution"]
    return defaults | given


def export(options: Namespace) -> int:
    """Write the mesh of a finished run."""
    check_ending(options.out, tuple(FORMATS))
    names = ("faces", "texture", "vertex_colors", "size")
    given = {name: getattr(options, name) for name in names}
    check_mesh(options.out, **given)
    if options.resolution is not None:
        in_range("resolution", options.resolution)
    check_level(options.level)
    result, resolution = _load(options), options.resolution
    from dfast.runs.refined import Refined

    if resolution is not None and isinstance(result, Refined):
        raise UsageError("--resolution: expected without it, since a refined mesh has its faces")
    mesh = result.mesh(options.out, resolution=resolution or GRID, level=options.level, **given)
    for note in mesh.notes:
        say(f"{user_path(options.out)}: {note}")
    print(f"{user_path(options.out)}: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces")
    return 0


def report(options: Namespace) -> int:
    """Write the report of a finished run."""
    if options.out is not None:
        check_ending(options.out, PAGES)
    print(_load(options).report(options.out))
    return 0


def _load(options: Namespace) -> Result | Refined:
    check_device(options.device)
    check_finished(options.path)
    import_runs()
    import dfast
    from dfast._device import pick_device

    return dfast.load(options.path, str(pick_device(options.device)))
