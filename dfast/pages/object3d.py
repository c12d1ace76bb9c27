"""An object to turn with the pointer, as a page of its own or inside another."""

from __future__ import annotations

import base64
import json
from functools import cache
from html import escape
from pathlib import Path

from dfast.config.views import BACKGROUNDS
from dfast.render import studio

STYLE = """
html, body { margin: 0; height: 100%; overflow: hidden; background: rgb(BACKGROUND); }
canvas { width: 100%; height: 100%; display: block; touch-action: none; cursor: grab; }
p { position: absolute; margin: .5rem .7rem; font: 13px system-ui, sans-serif; color: #333; }
#trouble { top: 0; } #help { bottom: 0; opacity: .7; pointer-events: none; }
"""
HELP = "drag to turn, scroll or pinch to come nearer, double-click for the first view"


def object_page(glb: bytes, title: str = "object") -> str:
    """Return a page that shows a GLB file in the light of `dfast.render.studio`, without a network.

    Args:
        glb: the content of a GLB file such as `dfast.mesh.mesh.Mesh.save` writes.
        title: of the page, plain text.
    """
    levels = ", ".join(str(round(255 * value)) for value in BACKGROUNDS["studio"])
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE.replace('BACKGROUND', levels)}</style></head><body>"
        f'<canvas></canvas><p id="trouble"></p><p id="help">{HELP}</p>'
        f'<script type="application/json" id="light">{json.dumps(_light())}</script>'
        f'<script type="text/plain" id="glb">{base64.b64encode(glb).decode()}</script>'
        f'<script type="module">{_program()}</script></body></html>\n'
    )


def object_frame(glb: bytes, title: str = "object") -> str:
    """Return the page of `object_page` as an element of another page; scripts stay inside it.

    Args:
        glb: the content of a GLB file.
        title: what it shows, plain text.
    """
    inside = escape(object_page(glb, title))
    return (
        f'<iframe sandbox="allow-scripts" style="width: 100%; height: 100%; border: 0" '
        f'title="{escape(title)}" srcdoc="{inside}"></iframe>'
    )


def _light() -> dict[str, object]:
    """Return the constants of the studio as the program reads them."""
    names = [
        "KEY_LIGHT",
        "FILL_LIGHT",
        "SOFTNESS",
        "SKY_LIGHT",
        "GROUND_LIGHT",
        "DUST",
        "REFLECTANCE",
        "RIM",
        "LAMP",
        "LAMP_WIDTH",
    ]
    return {
        "numbers": {name: getattr(studio, name) for name in names},
        "key": studio.KEY,
        "fill": studio.FILL,
        "background": BACKGROUNDS["studio"],
    }


@cache
def _program() -> str:
    return Path(__file__).with_name("object3d.js").read_text(encoding="utf-8")
