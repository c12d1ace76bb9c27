"""Write turntable videos as .gif or .mp4."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfast._files import user_path
from dfast.errors import ExportError
from dfast.io.exporting import exporting
from dfast.io.images import Image, Renders

VIDEO_FORMATS = (".gif", ".mp4")


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
    """Write a video of one turn around the object: .gif (Pillow) or .mp4 (the `video` extra).

    Args:
        result: what to render.
        path: ends in one of `VIDEO_FORMATS`.
        frames: number of views in the turn, at least 2.
        resolution: pixels a side.
        elevation: of the camera, in degrees.
        shading: a shading mode, or "normal".
        fps: frames per second.

    Returns:
        The path.

    Raises:
        ExportError: if the path has another ending or cannot be written, if there are fewer than
            two frames, or if the format is mp4 and PyAV is not installed.
    """
    path = user_path(path)
    if path.suffix.lower() not in VIDEO_FORMATS:
        raise ExportError(f"a turntable's path must end in .gif or .mp4, got {str(path)!r}")
    if frames < 2:
        raise ExportError(f"frames must be at least 2, got {frames}")
    if path.suffix.lower() == ".mp4":
        _require_av()
    images = [
        result.render(
            azimuth=360.0 * k / frames, elevation=elevation, resolution=resolution, shading=shading
        )
        for k in range(frames)
    ]
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    with exporting(path) as temporary:
        write(images, temporary, fps)
    return path


def _write_gif(images: list[Image], path: Path, fps: int) -> None:
    """Write the images as an endless GIF."""
    from PIL import Image as Pillow

    frames = [Pillow.fromarray(image) for image in images]
    # All frames share one palette, computed from about six of them side by side: with a palette a
    # frame, colours would flicker.
    few = np.concatenate(images[:: max(1, len(images) // 6)], axis=1)
    palette = Pillow.fromarray(few).quantize(255, method=Pillow.Quantize.MEDIANCUT)
    indexed = [f.quantize(palette=palette, dither=Pillow.Dither.NONE) for f in frames]
    indexed[0].save(
        path, save_all=True, append_images=indexed[1:], duration=round(1000 / fps), loop=0
    )


def _require_av() -> None:
    """Raise ExportError if PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise ExportError("mp4 videos need PyAV: pip install av (or ask for a .gif)") from None


def _write_mp4(images: list[Image], path: Path, fps: int) -> None:
    """Write the images as H.264."""
    import av

    height, width = (side // 2 * 2 for side in images[0].shape[:2])  # yuv420p needs even sides
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[:height, :width]), format="rgb24"
            )
            for packet in stream.encode(frame):
                video.mux(packet)
        for packet in stream.encode():
            video.mux(packet)
