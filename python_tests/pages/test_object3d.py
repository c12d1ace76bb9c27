"""The page of an object: what it holds, and what a browser draws of it."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from density_fields import Ball
from html_pages import Page
from numpy.typing import NDArray
from PIL import Image

from dfast.config import Layout
from dfast.config.views import BACKGROUNDS
from dfast.mesh.layout import export_layout
from dfast.mesh.mesh import Mesh
from dfast.pages.object3d import object_frame, object_page
from dfast.render.studio import encode, light_pixels
from dfast.scene.cameras import orbit

BACKGROUND = np.array(BACKGROUNDS["studio"]) * 255


def ball(color: tuple[float, float, float], path: Path) -> bytes:
    """Return a GLB file of a ball that is red below the equator (world z) and `color` above."""
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.8)
    colors = np.where(mesh.vertices[:, 2:] > 0, color, (0.85, 0.08, 0.08))
    Mesh(
        np.asarray(mesh.vertices, np.float32),
        np.asarray(mesh.faces, np.int64),
        colors.astype(np.float32),
        1.0,
    ).save(path)
    return path.read_bytes()


def plate(path: Path, picture: NDArray[np.uint8], tilt: tuple[float, float] = (0.0, 0.0)) -> bytes:
    """Return a GLB file, by trimesh, of an upright plate with a texture and a normal map.

    Args:
        path: the file.
        picture: the texture, [H, W, 3].
        tilt: of the normals, to the right and up.
    """
    trimesh = pytest.importorskip("trimesh")
    normal = np.array([*tilt, np.sqrt(1 - tilt[0] ** 2 - tilt[1] ** 2)])
    bumps = np.tile(np.rint((normal * 0.5 + 0.5) * 255).astype(np.uint8), (8, 8, 1))
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    mesh = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=corners[:, :2] * 0.5 + 0.5,
        material=trimesh.visual.material.PBRMaterial(
            baseColorTexture=Image.fromarray(picture),
            normalTexture=Image.fromarray(bumps),
            metallicFactor=0.0,
        ),
    )
    assert len(mesh.vertex_normals) == 4  # they are written once they are known
    mesh.export(path)
    return path.read_bytes()


def draw(tab: Any, page: str) -> NDArray[np.int64]:
    """Return what a browser draws of a page of 400 x 400 pixels."""
    tab.set_content(page)
    frame = tab.frames[-1]
    frame.wait_for_selector("body[data-state]", state="attached")
    assert frame.get_attribute("body", "data-state") == "drawn", frame.text_content("#trouble")
    frame.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    return np.array(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)


def test_a_page_holds_the_object_and_loads_nothing(tmp_path: Path) -> None:
    glb, title = ball((1, 1, 1), tmp_path / "a.glb"), '</script><b a="">&'
    for html in (object_page(glb, title), f"<p>{object_frame(glb, title)}</p>"):
        page = Page(html)
        assert page.loads() == [] and not page.named("link") and not page.named("b")
        assert len(page.named("script")) == 3 and len(page.named("canvas")) == 1
        assert base64.b64encode(glb).decode() in html
        assert "http://" not in html and "https://" not in html
    assert Page(f"<p>{object_frame(glb)}</p>").named("iframe")[0]["sandbox"] == "allow-scripts"


def test_a_browser_draws_colours_upright_on_the_backdrop(tab: Any, tmp_path: Path) -> None:
    image = draw(tab, object_page(ball((240 / 255,) * 3, tmp_path / "a.glb")))
    assert np.abs(image[5, 200] - BACKGROUND).max() <= 1.5
    object_pixels = np.abs(image - BACKGROUND).max(-1) > 8
    assert 0.15 < object_pixels.mean() < 0.6
    above, below = image[130, 200], image[290, 200]
    assert above.min() > 225 and above.max() - above.min() < 6  # white, and lit as such
    assert below[0] > 100 and below[0] > 2.5 * below[1:].max()


def test_a_browser_draws_textures_and_turns(tab: Any, tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4, 1] = picture[:, 4:, 2] = 255  # green on the left, blue on the right
    page = object_frame(plate(tmp_path / "a.glb", picture))
    image = draw(tab, f"<body style='margin: 0'><div style='height: 400px'>{page}</div></body>")
    left, right = image[200, 150], image[200, 250]
    assert left.argmax() == 1 and right.argmax() == 2
    tab.mouse.move(100, 200)
    tab.mouse.down()
    tab.mouse.move(150, 220, steps=3)
    tab.mouse.up()
    tab.wait_for_timeout(200)
    turned = np.array(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)
    assert np.abs(turned - image).mean() > 3
    tab.mouse.dblclick(200, 200)
    tab.wait_for_timeout(200)
    again = np.array(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)
    assert np.abs(again - image).mean() < 0.5


@pytest.mark.parametrize("tilt", [(0, 0), (-0.5, 0), (0.5, 0), (0, 0.6), (0, -0.6), (0.6, -0.5)])
def test_a_browser_lights_as_the_studio_does(
    tab: Any, tmp_path: Path, tilt: tuple[float, float]
) -> None:
    """The light and the normal map, compared with `dfast.render.studio` in the middle pixel."""
    picture = np.tile(np.array([40, 128, 220], np.uint8), (8, 8, 1))
    shown = draw(tab, object_page(plate(tmp_path / "a.glb", picture, tilt)))[200, 200]
    right, up = tilt
    normal = torch.tensor([[math.sqrt(1 - right**2 - up**2), right, up]])  # glTF's z, x, y
    camera = orbit(1, elevation=20.0, azimuth=30.0)
    towards = camera.origin / camera.origin.norm()
    albedo = torch.tensor(picture[:1, 0]) / 255
    expected = 255 * encode(light_pixels(albedo, normal, -towards, camera))[0].numpy()
    assert np.abs(shown - expected).max() < 3.0


def test_nodes_are_drawn_in_their_places(tab: Any, tmp_path: Path) -> None:
    parts = [{"name": "a", "prompt": "a", "position": [0.0, -0.5, 0.0]},
             {"name": "b", "prompt": "b", "position": [0.3, 0.3, -0.2], "size": 0.4}]  # fmt: skip
    layout = Layout.from_dict({"prompt": "two", "parts": parts})
    fields = {"a": Ball(0.7), "b": Ball(0.8)}
    mesh = export_layout(fields, layout, resolution=32, level=30.0)
    assert b'"translation"' in mesh.glb() and b'"translation"' not in Mesh.glb(mesh)
    nodes, merged = (draw(tab, object_page(glb)) for glb in (mesh.glb(), Mesh.glb(mesh)))
    assert np.abs(nodes - BACKGROUND).max(-1).mean() > 5
    assert np.abs(nodes - merged).mean() < 0.2


def test_a_file_that_is_none_says_so(tab: Any) -> None:
    tab.set_content(object_page(b"not a GLB file, but long enough to be read as one" * 4))
    tab.wait_for_selector("body[data-state=failed]", state="attached")
    assert tab.text_content("#trouble").startswith("The object cannot be shown: ")
