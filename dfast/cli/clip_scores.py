"""`dfast evaluate --clip`: score runs, folders of runs and mesh files by CLIPs."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dfast._files import user_path
from dfast.cli.checks import check_device, check_finished
from dfast.cli.options import UsageError
from dfast.errors import ConfigError, PromptError
from dfast.runs.names import slug

if TYPE_CHECKING:
    from torch import Tensor

    from dfast.evaluation.clip_report import ClipReport
    from dfast.evaluation.clip_score import Subject
    from dfast.evaluation.clip_views import Views
    from dfast.mesh.reading import MeshPart

METRICS = ("r-precision", "similarity", "janus", "t3bench")
"""Names of `dfast.evaluation.clip_score.METRICS`, here without torch."""
DEFAULT = METRICS[:3]
MESHES = (".glb",)
"""Endings of mesh files."""


def add_clip_options(parser: ArgumentParser) -> None:
    """Add --clip, and what goes with it.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--clip",
        action="append",
        default=[],
        metavar="NAME",
        help="score by this CLIP instead: a folder of transformers, a hub id or shapes, the "
        "embedded one (may be repeated); the prompts are then those to choose from",
    )
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help=f"what a CLIP measures, of {','.join(METRICS)} (default: {','.join(DEFAULT)})",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch a CLIP that is not on this machine"
    )


def check_clip_options(options: Namespace) -> None:
    """Raise UsageError for options that do not go together.

    Args:
        options: the parsed command line.
    """
    if not options.clip:
        for name in ("metrics", "download"):
            if getattr(options, name):
                raise UsageError(f"--{name}: expected with --clip")
        return
    unused = ("prompt", "out", "steps", "prior", "config", "preset", "set", "lora")
    given = [name for name in unused if getattr(options, name)]
    if given := given + ["seeds"] * (options.seeds != 1):
        raise UsageError(f"--{given[0]}: expected without --clip, which scores what is made")
    if not options.paths:
        raise UsageError("--clip: expected runs, folders of runs or .glb files to score")


def score_paths(options: Namespace, lines: Sequence[str]) -> ClipReport:
    """Score what the command line names.

    Args:
        options: the parsed command line.
        lines: prompts to choose from, some with the name of a mesh before a tab; without any, the
            prompts are those of the runs.

    Raises:
        ConfigError: a metric, a mesh or a file of prompts that cannot be used.
        PromptError: an object whose prompt is not known, or not among the prompts.
        PriorError: a CLIP that cannot be used.
        RunFolderError: a run that has not finished.
    """
    metrics = _metrics(options.metrics)
    check_device(options.device)
    files = [file for path in options.paths for file in _expand(user_path(path))]
    named = _read_lines(lines)
    prompts = [line.prompt for line in named]

    from dfast._device import pick_device
    from dfast.clip import load_clip
    from dfast.evaluation.clip_metrics import normalized
    from dfast.evaluation.clip_report import ClipReport
    from dfast.evaluation.clip_score import score_with_clips, views_of

    device = pick_device(options.device)
    names = list(dict.fromkeys(options.clip))
    clips = [load_clip(name, device, download=options.download) for name in names]
    runs = [] if prompts else [_load(f, str(device)).prompt for f in files if not _is_mesh(f)]
    named += [Line((), prompt) for prompt in runs]
    subjects = [_subject(file, named, str(device)) for file in files]
    prompts = prompts or [subject.prompt for subject in subjects]
    choices = list({normalized(prompt): prompt for prompt in prompts}.values())
    known = {normalized(prompt) for prompt in choices}
    for subject in subjects:
        if normalized(subject.prompt) not in known:
            raise PromptError(
                f"--prompts: expected the prompt of '{subject.name}' among them, which is "
                f"{subject.prompt!r}"
            )
    scores: list[Any] = []
    for number, found in enumerate(score_with_clips(subjects, clips, choices, metrics), 1):
        scores += found
        print(f"{number}/{len(subjects)} {found[0].object}", file=sys.stderr)
    return ClipReport(
        tuple(scores),
        tuple(clip.about() for clip in clips),
        tuple(views.about() for views in views_of(metrics)),
        tuple(normalized(prompt) for prompt in choices),
    )


def _metrics(text: str | None) -> tuple[str, ...]:
    """Return the metrics that --metrics names."""
    if text is None:
        return DEFAULT
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in METRICS]:
        raise ConfigError(f"--metrics: expected some of {', '.join(METRICS)}, got {unknown[0]!r}")
    return names


def _expand(path: Path) -> list[Path]:
    """Return the runs and meshes that a path stands for: itself, or those in a folder."""
    from dfast.runs.unfinished import RESULT

    if _is_mesh(path):
        return [path]
    own = not path.is_dir() or (path / RESULT).exists()
    inside = [] if own else sorted(path.iterdir())
    found = [one for one in inside if (one / RESULT).is_file() or _is_mesh(one)]
    if not found and inside:
        raise ConfigError(f"'{path}': expected finished runs or .glb files in it, got none")
    if not found:
        check_finished(str(path))
    return found or [path]


def _is_mesh(path: Path) -> bool:
    return path.suffix.lower() in MESHES and path.is_file()


class Line(NamedTuple):
    """A prompt to choose from, and the mesh that it belongs to."""

    end: tuple[str, ...]
    """Last parts of the mesh file's path, with or without its ending; () for no mesh."""
    prompt: str


def _read_lines(lines: Sequence[str]) -> list[Line]:
    """Return what each line says.

    A line is a prompt, or the name of a mesh file, perhaps with folders, a tab and its prompt.
    """
    parts = [[part.strip() for part in line.rpartition("\t")] for line in lines]
    return [Line(Path(name).parts if name else (), prompt) for name, _, prompt in parts]


def _subject(path: Path, named: Sequence[Line], device: str) -> Subject:
    """Return what is at a path, ready to be rendered."""
    from dfast.evaluation.clip_score import Subject
    from dfast.runs.exports import OBJECT
    from dfast.runs.refined import Refined

    if _is_mesh(path):
        prompt = _prompt_of_mesh(path, named)
        _read(path)  # a damaged file is told before others are scored
        return Subject(path.name, prompt, "mesh", None, partial(_render_mesh, path, device))
    result, name = _load(path, device), path.name or str(path)
    if isinstance(result, Refined):
        mesh = (path if path.is_dir() else path.parent) / OBJECT
        if not _is_mesh(mesh):
            raise ConfigError(f"'{path}': holds a refined mesh, expected it exported as '{mesh}'")
        _read(mesh)
        render = partial(_render_mesh, mesh, device)
    else:
        render = partial(_render_run, path, device)
    return Subject(name, result.prompt, "run", result.seed, render)


def _prompt_of_mesh(path: Path, named: Sequence[Line]) -> str:
    """Return the prompt of a mesh: that of its line, or the one that its name is made of."""
    whole = path.absolute()
    paths = (whole.parts, whole.with_suffix("").parts)
    meshes = [line for line in named if line.end]
    own = [line for line in meshes if any(p[-len(line.end) :] == line.end for p in paths)]
    most = max((len(line.end) for line in own), default=0)
    lines = [line for line in own if len(line.end) == most]
    lines = lines or [line for line in named if _words(line.prompt) == _words(path.stem)]
    lines = lines or [line for line in named if slug(line.prompt) == slug(path.stem)]
    found = list(dict.fromkeys(line.prompt for line in lines))
    if len(found) != 1:
        got = "neither" if not found else " and ".join(map(repr, found))
        raise PromptError(
            f"'{path}': expected --prompts with a line '{path.name}', a tab and its prompt, "
            f"or a prompt that its name is made of, got {got}"
        )
    return found[0]


def _words(text: str) -> list[str]:
    """Return the words of a prompt or of a name that is made of one."""
    return re.findall(r"[^\W_]+", text.casefold())


def _render_run(path: Path, device: str, views: Views) -> Tensor:
    from dfast.evaluation.clip_views import views_of_scene

    result = _load(path, device)
    return views_of_scene(result.scene, result.config.march, views)


def _render_mesh(path: Path, device: str, views: Views) -> Tensor:
    from dfast.evaluation.clip_meshes import views_of_mesh

    return views_of_mesh(_read(path), views, device)


@lru_cache(maxsize=1)
def _load(path: Path, device: str) -> Any:
    """Return a result; of many runs, one at a time is in memory."""
    import dfast

    return dfast.load(path, device)


@lru_cache(maxsize=1)
def _read(path: Path) -> list[MeshPart]:
    """Return a mesh; of many, one at a time is in memory."""
    from dfast.mesh.reading import read_glb

    return read_glb(path)
