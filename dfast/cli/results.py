"""`dfast render` and `dfast export`: images and meshes of finished runs."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast.cli.options import Commands, add_device, add_finished_run
from dfast.config.views import SHADING

if TYPE_CHECKING:
    from dfast.runs.result import Result


def add_render(commands: Commands[Any]) -> None:
    """Add the command `render` and its options."""
    p = commands.add_parser("render", help="an image, a contact sheet or a film of a finished run")
    p.set_defaults(run=render)
    add_finished_run(p)
    p.add_argument(
        "--out", required=True, metavar="FILE", help=".png or .jpg; .gif or .mp4 for a turntable"
    )
    p.add_argument(
        "--sheet", action="store_true", help="a contact sheet of views instead of one view"
    )
    p.add_argument(
        "--azimuth", type=float, default=30.0, help="degrees; 0 is the front (default: %(default)s)"
    )
    p.add_argument("--elevation", type=float, default=15.0, help="degrees (default: %(default)s)")
    p.add_argument("--resolution", type=int, default=256, help="pixels (default: %(default)s)")
    p.add_argument("--shading", choices=SHADING, default="diffuse", help="(default: %(default)s)")
    p.add_argument("--frames", type=int, default=36, help="of a turntable (default: %(default)s)")
    add_device(p, "cpu")


def add_export(commands: Commands[Any]) -> None:
    """Add the command `export` and its options."""
    p = commands.add_parser("export", help="a mesh of a finished run")
    p.set_defaults(run=export)
    add_finished_run(p)
    p.add_argument("out", metavar="FILE", help=".glb (for viewers), .ply, .obj or .stl")
    p.add_argument(
        "--resolution", type=int, default=128, help="cells along a side (default: %(default)s)"
    )
    p.add_argument(
        "--level", type=float, help="density of the surface (default: the rendered silhouettes')"
    )
    add_device(p, "cpu")


def render(options: Namespace) -> int:
    """Write a view, a contact sheet or a turntable of a finished run."""
    from dfast.io.images import save_image
    from dfast.io.video import VIDEO_FORMATS

    result, out = _load(options), user_path(options.out)
    view = {
        "elevation": options.elevation,
        "resolution": options.resolution,
        "shading": options.shading,
    }
    if out.suffix.lower() in VIDEO_FORMATS:
        result.turntable(out, frames=options.frames, **view)
    elif options.sheet:
        result.contact_sheet(out, resolution=options.resolution)
    else:
        save_image(result.render(azimuth=options.azimuth, **view), out)
    print(out)
    return 0


def export(options: Namespace) -> int:
    """Write the mesh of a finished run."""
    out = user_path(options.out)
    mesh = _load(options).mesh(out, resolution=options.resolution, level=options.level)
    print(f"{out}: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces")
    return 0


def _load(options: Namespace) -> Result:
    import dfast
    from dfast._device import pick_device

    return dfast.load(options.path, str(pick_device(options.device)))
