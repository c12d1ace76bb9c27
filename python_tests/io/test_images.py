"""Images and videos of a result: contact sheets, previews, turntables."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dfast.errors import ExportError
from dfast.io.images import contact_sheet, encode_png, named, preview_image, save_image
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


@pytest.mark.parametrize(
    ("fps", "milliseconds"),
    [(16, 60), (10, 100), (50, 20), (60, 20), (1000, 20), (12.5, 80), (0.5, 2000), (33.3, 30)],
)
def test_a_gif_says_a_rate_that_viewers_keep(fps: float, milliseconds: int, tmp_path: Path) -> None:
    film = Image.open(turntable(Constant(), tmp_path / "a.gif", frames=3, resolution=8, fps=fps))
    assert film.info["duration"] == milliseconds


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "16", None, True, 1e9, 1e-9])
def test_rates_that_cannot_be_are_refused(fps: Any, tmp_path: Path) -> None:
    for name in ("a.gif", "a.mp4"):
        with pytest.raises(ExportError, match=r"fps must be 0\.1 to 1000 frames a second, got"):
            turntable(Constant(), tmp_path / name, fps=fps)


@pytest.mark.parametrize("fps", [0.1, 12.5, 29.97, 60, 1000])
def test_mp4_takes_any_rate(fps: float, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = turntable(Constant(), tmp_path / "a.mp4", frames=3, resolution=16, fps=fps)
    with av.open(str(path)) as film:
        assert float(film.streams.video[0].average_rate) == pytest.approx(fps, rel=0.01)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda to: turntable(Constant(), to / "a.gif", frames="3"), "frames must be at least 2"),
        (lambda to: turntable(Constant(), to / "a.gif", frames=2.5), "frames must be at least 2"),
        (lambda to: turntable(Constant(), to / "a.gif", frames=10**20), "frames must be at most"),
        (lambda to: turntable(Constant(), to / "a.gif", resolution=8192), "resolution and frames"),
        (lambda to: turntable(Constant(), None), "path must end in"),
        (lambda to: turntable(Constant(), 3), "path must end in"),
        (lambda to: contact_sheet(Constant(), resolution="8"), "resolution must be at least 1"),
        (lambda to: contact_sheet(Constant(), resolution=10**9), "resolution must be at most"),
        (lambda to: contact_sheet(Constant(), 3), "path must end in"),
        (lambda to: contact_sheet(Constant(), views=[1, 2]), "views must be pairs"),
        (lambda to: contact_sheet(Constant(), views=5), "views must be pairs"),
        (lambda to: contact_sheet(Constant(), views=[]), "at least one view"),
        (lambda to: contact_sheet(Constant(), shading=()), "at least one view"),
    ],
)
def test_other_bad_arguments_are_one_line(
    call: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=says) as error:
        call(tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_contact_sheet_of_chosen_views_and_shading() -> None:
    sheet = contact_sheet(Constant(), resolution=4, views=[(7, 0), (9, 0)], shading="normal")
    assert sheet.shape == (4, 8, 3) and sheet[0, ::4, 0].tolist() == [7, 9]


def test_cells_of_a_contact_sheet_are_named_where_there_is_room() -> None:
    def plain(image: np.ndarray) -> bool:
        return bool((image == image[-1, -1]).all())

    sheet = contact_sheet(Constant())
    assert sheet.shape == (3 * 256, 5 * 256, 3)
    cells = [c for row in np.split(sheet, 3) for c in np.split(row, 5, axis=1)]
    assert not any(plain(cell) for cell in cells)
    names = [cell[:32].tobytes() for cell in cells]
    assert len(set(names)) == 15  # by view and by row
    assert all(plain(cell[32:]) for cell in cells)
    assert plain(contact_sheet(Constant(), views=[(7, 0)], shading="clay", resolution=64))
    assert not plain(contact_sheet(Constant(), views=[(np.array(7.5), np.float32(-3))]))


@pytest.mark.parametrize("shade", [0, 60, 200, 255])
def test_a_name_can_be_read_on_any_ground(shade: int) -> None:
    image = named(np.full((96, 96, 3), shade, np.uint8), "top")
    assert np.abs(image.astype(int) - shade).max() > 80


def test_pictures_need_no_torch() -> None:
    code = "import sys, dfast.io.images, dfast.io.video; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
