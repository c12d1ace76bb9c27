"""`dfast render` and `dfast export`: pictures and meshes of finished runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any


def render(options: Namespace) -> int:
    """A view, a contact sheet or a turntable of a finished run."""
    from dfast.io.images import save_image
    from dfast.io.video import FILMS

    result = _load(options)
    look = {"resolution": options.resolution, "shading": options.shading}
    if Path(options.out).suffix.lower() in FILMS:
        result.turntable(options.out, frames=options.frames, elevation=options.elevation, **look)
    elif options.sheet:
        result.contact_sheet(options.out, resolution=options.resolution)
    else:
        image = result.render(azimuth=options.azimuth, elevation=options.elevation, **look)
        save_image(image, options.out)
    print(options.out)
    return 0


def export(options: Namespace) -> int:
    """The mesh of a finished run."""
    mesh = _load(options).mesh(options.out, resolution=options.resolution, level=options.level)
    print(f"{options.out}: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces")
    return 0


def _load(options: Namespace) -> Any:
    import dfast
    from dfast._device import pick_device

    return dfast.load(options.path, str(pick_device(options.device)))
