"""Images and videos of a result: contact sheets, previews, turntables."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfast.errors import ExportError
from dfast.io.images import contact_sheet, encode_png, preview_image, save_image
from dfast.io.video import turntable


class Constant:
    """A result whose images have one value, the azimuth modulo 256."""

    def render(self, **view: float) -> np.ndarray:
        """Return an image [resolution, resolution, 3]."""
        size = int(view["resolution"])
        return np.full((size, size, 3), int(view["azimuth"]) % 256, np.uint8)


def test_turntable_and_contact_sheet(tmp_path: Path) -> None:
    film = Image.open(turntable(Constant(), tmp_path / "turn.gif", frames=4, resolution=16))
    assert film.n_frames == 4 and film.size == (16, 16)
    sheet = contact_sheet(Constant(), tmp_path / "sheet.png", resolution=8)
    assert sheet.shape == (24, 40, 3)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), sheet)
    with pytest.raises(ExportError, match=r"\.gif or \.mp4"):
        turntable(Constant(), tmp_path / "turn.avi")


def test_mp4(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = turntable(Constant(), tmp_path / "turn.mp4", frames=3, resolution=32)
    with av.open(str(path)) as film:
        assert len(list(film.decode(video=0))) == 3


def test_preview_shows_three_views_side_by_side() -> None:
    image = preview_image(Constant(), resolution=4)
    assert image.shape == (4, 12, 3)
    assert image[0, ::4, 0].tolist() == [0, 120, 240]


def test_png_bytes_decode_to_the_image() -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    data = encode_png(image)
    assert data.startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image)


def test_bad_image_arguments_are_named_errors(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="resolution must be at least 1, got 0"):
        contact_sheet(Constant(), resolution=0)
    with pytest.raises(ExportError, match=r"\.png, \.jpg or \.webp"):
        save_image(np.zeros((2, 2, 3), np.uint8), tmp_path / "image.xyz")
    with pytest.raises(ExportError, match="frames must be at least 2, got 1"):
        turntable(Constant(), tmp_path / "turn.gif", frames=1)
    assert not list(tmp_path.iterdir())
