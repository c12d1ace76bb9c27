"""Write turntable videos as .gif or .mp4."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from dfast._files import user_path
from dfast._numbers import real, shown, whole
from dfast.errors import ExportError
from dfast.io.exporting import exporting
from dfast.io.images import Image, Renders

VIDEO_FORMATS = (".gif", ".mp4")
MAX_FRAMES = 3600
"""Most frames of a film."""
MAX_PIXELS = 1 << 30
"""Most pixels of a film: its frames are in memory together, 3 bytes a pixel."""


def turntable(
    result: Renders,
    path: str | Path,
    *,
    frames: int = 36,
    resolution: int = 320,
    elevation: float = 15.0,
    shading: str = "studio",
    fps: float = 16,
) -> Path:
    """Write a video of one turn around the object: .gif (Pillow) or .mp4 (the `video` extra).

    Args:
        result: what to render.
        path: ends in one of `VIDEO_FORMATS`.
        frames: number of views in the turn, 2 to `MAX_FRAMES`.
        resolution: pixels a side.
        elevation: of the camera, in degrees.
        shading: one of `dfast.config.views.SHADING`.
        fps: frames per second, 0.1 to 1000; a .gif shows each frame for a whole number of
            hundredths of a second, two at the least, so that 50 is the most it can say.

    Returns:
        The path.

    Raises:
        ExportError: if the path has another ending or cannot be written, if the number of frames
            or their rate cannot
            be, or if the format is mp4 and PyAV is not installed.
        ConfigError: if there is no such view or shading mode.
    """
    path = check_video_path(path)
    count, rate = check_frames(frames), check_rate(fps)
    size = whole(resolution)
    if size is not None and count * size**2 > MAX_PIXELS:
        raise ExportError(
            f"resolution and frames: expected a film of at most {MAX_PIXELS:.2g} pixels, got "
            f"{count} frames of {size} pixels a side"
        )
    if path.suffix.lower() == ".mp4":
        _require_av()
    images = [
        result.render(
            azimuth=360.0 * k / count, elevation=elevation, resolution=resolution, shading=shading
        )
        for k in range(count)
    ]
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    with exporting(path) as temporary:
        write(images, temporary, rate)
    return path


def check_video_path(path: str | Path) -> Path:
    """Return the path of a film.

    Args:
        path: ends in one of `VIDEO_FORMATS`.

    Raises:
        ExportError: if it has another ending, or is no path.
    """
    if not isinstance(path, str | Path) or Path(path).suffix.lower() not in VIDEO_FORMATS:
        raise ExportError(f"a turntable's path must end in .gif or .mp4, got {shown(path)}")
    return user_path(path)


def check_frames(frames: object) -> int:
    """Return the number of frames of a film; raise ExportError unless it is one."""
    count = whole(frames)
    if count is None or not 2 <= count <= MAX_FRAMES:
        limit = "at least 2" if count is None or count < 2 else f"at most {MAX_FRAMES}"
        raise ExportError(f"frames must be {limit}, got {shown(frames)}")
    return count


def check_rate(fps: object) -> float:
    """Return the frames a second of a film; raise ExportError unless it is a rate."""
    rate = real(fps)
    if rate is None or not 0.1 <= rate <= 1000:
        raise ExportError(f"fps must be 0.1 to 1000 frames a second, got {shown(fps)}")
    return rate


def gif_delay(fps: float) -> int:
    """Return how long a GIF shows each frame, in milliseconds.

    GIF counts hundredths of a second, and viewers replace one of them by ten.

    Args:
        fps: frames per second.
    """
    return 10 * max(2, round(100 / fps))


def _write_gif(images: list[Image], path: Path, fps: float) -> None:
    """Write the images as an endless GIF."""
    from PIL import Image as Pillow

    frames = [Pillow.fromarray(image) for image in images]
    # All frames share one palette, computed from about six of them side by side: with a palette a
    # frame, colours would flicker.
    few = np.concatenate(images[:: max(1, len(images) // 6)], axis=1)
    palette = Pillow.fromarray(few).quantize(255, method=Pillow.Quantize.MEDIANCUT)
    indexed = [f.quantize(palette=palette, dither=Pillow.Dither.NONE) for f in frames]
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=gif_delay(fps), loop=0)


def _require_av() -> None:
    """Raise ExportError if PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise ExportError("mp4 videos need PyAV: pip install av (or ask for a .gif)") from None


def _write_mp4(images: list[Image], path: Path, fps: float) -> None:
    """Write the images as H.264."""
    import av

    height, width = (side // 2 * 2 for side in images[0].shape[:2])  # yuv420p needs even sides
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[:height, :width]), format="rgb24"
            )
            for packet in stream.encode(frame):
                video.mux(packet)
        for packet in stream.encode():
            video.mux(packet)
