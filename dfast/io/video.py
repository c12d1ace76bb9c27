"""Write turntables as .gif or .mp4."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfast._files import replacing
from dfast.errors import ExportError
from dfast.io.images import Image, Renders

FILMS = (".gif", ".mp4")


def turntable(
    result: Renders,
    path: str | Path,
    *,
    frames: int = 36,
    resolution: int = 144,
    elevation: float = 15.0,
    shading: str = "diffuse",
    fps: int = 16,
) -> Path:
    """Write a film of one turn around the object: .gif (Pillow) or .mp4 (the `video` extra).

    frames: 2 or more; elevation in degrees; resolution in pixels. Returns the path.
    Raises ExportError for another ending, or for mp4 without PyAV.
    """
    path = Path(path)
    if path.suffix.lower() not in FILMS:
        raise ExportError(f"a turntable's path must end in .gif or .mp4, got {str(path)!r}")
    if frames < 2:
        raise ExportError(f"frames must be at least 2, got {frames}")
    if path.suffix.lower() == ".mp4":
        _need_av()
    images = [
        result.render(
            azimuth=360.0 * k / frames, elevation=elevation, resolution=resolution, shading=shading
        )
        for k in range(frames)
    ]
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    with replacing(path) as temporary:
        write(images, temporary, fps)
    return path


def _write_gif(images: list[Image], path: Path, fps: int) -> None:
    from PIL import Image as Pillow

    frames = [Pillow.fromarray(image) for image in images]
    # one palette for the whole film, from a few of its frames side by side, so that colours do not
    # flicker
    few = np.concatenate(images[:: max(1, len(images) // 6)], axis=1)
    palette = Pillow.fromarray(few).quantize(255, method=Pillow.Quantize.MEDIANCUT)
    indexed = [f.quantize(palette=palette, dither=Pillow.Dither.NONE) for f in frames]
    indexed[0].save(
        path, save_all=True, append_images=indexed[1:], duration=round(1000 / fps), loop=0
    )


def _need_av() -> None:
    try:
        import av  # noqa: F401
    except ImportError:
        raise ExportError("mp4 films need PyAV: pip install av (or ask for a .gif)") from None


def _write_mp4(images: list[Image], path: Path, fps: int) -> None:
    import av

    height, width = (side // 2 * 2 for side in images[0].shape[:2])  # yuv420p wants even sides
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[:height, :width]), format="rgb24"
            )
            for packet in stream.encode(frame):
                film.mux(packet)
        for packet in stream.encode():
            film.mux(packet)
