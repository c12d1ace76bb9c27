"""`dfast.reproduce`: runs of several arms, their scores, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dfast._device import pick_device
from dfast._numbers import shown, whole
from dfast.batches.batch import Batch, make
from dfast.batches.plan import Resources
from dfast.batches.table import Row as BatchRow
from dfast.clip import load_clip
from dfast.clip.loading import find_clip
from dfast.config import Config
from dfast.config.checks import SEED_LIMIT, check_steps
from dfast.config.presets import Table
from dfast.errors import ConfigError, PriorError
from dfast.evaluation.clip_metrics import normalized
from dfast.priors import family_of
from dfast.reproduction.arms import (
    Arm,
    ablation,
    left_out,
    methods_of,
    quick_settings,
    settings_by_method,
    table1,
    usual_guide,
)
from dfast.reproduction.files import TRUTH, write_files
from dfast.reproduction.prompts import check_texts, is_world, read_prompts
from dfast.reproduction.published import TABLE1
from dfast.reproduction.report import SECONDS, WORLD, Report, Row, RunScore, clip_columns
from dfast.reproduction.scoring import ClipJudges, seconds_of, world_numbers
from dfast.runs.arguments import resolve_config
from dfast.runs.names import run_name
from dfast.runs.notices import notice
from dfast.runs.paths import as_path
from dfast.runs.unfinished import RESULT

What = Literal["table1", "ablation"]
TITLES = {
    "table1": "CLIP R-Precision and more, after table 1 of DreamFusion",
    "ablation": "What each ingredient adds, after figure 6 of DreamFusion",
}
"""What can be reproduced, and the title of its table."""
RUNS = "runs"
"""Folder of the batch in that of the comparison."""


@dataclass(frozen=True)
class Reproduction:
    """What became of a comparison."""

    report: Report
    """The table."""
    batch: Batch
    """Its runs."""
    files: tuple[Path, ...]
    """Markdown, JSON and picture of the table."""


def reproduce(
    what: What,
    out: str | Path,
    *,
    methods: Sequence[str] | None = None,
    method: str = "dfast",
    prompts: Sequence[str] | None = None,
    seeds: int = 1,
    prior: str = "shapes",
    clips: Sequence[str | Path] = ("shapes",),
    guide: str | Path | None = None,
    among: Sequence[str] = (),
    download: bool = False,
    quick: bool = False,
    steps: int | None = None,
    config: Mapping[str, Any] | None = None,
    method_config: Mapping[str, Mapping[str, Any]] | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    retries: int = 2,
    device: Literal["cpu", "cuda"] | None = None,
    progress: bool = True,
) -> Reproduction:
    """Make a table of DreamFusion (Poole et al. 2022) again: methods, or what ingredients add.

    Every run has a folder of its own in `out`. What is finished there is neither made nor measured
    again, and what was begun goes on, whatever ended an earlier call. The table is written as
    `<what>.md`, `<what>.json` and `<what>.png`.

    Args:
        what: "table1", methods side by side, or "ablation", one method with more and more of the
            paper's ingredients: wide views, view words, light, textureless surfaces.
        out: folder of the comparison.
        methods: of table 1, some of `dfast.config.methods.METHODS`; None takes those of the paper
            that there are, and "dfast".
        method: that the ablation takes apart.
        prompts: what to make; None takes `dfast.reproduction.prompts.PROMPTS`, of which a quick
            comparison has the first.
        seeds: each prompt is made with the seeds 0 to `seeds` - 1.
        prior: name of the diffusion model, see `dfast.train`.
        clips: that score the objects, see `dfast.clip.load_clip`; () leaves their columns out.
        guide: the CLIP of methods that a CLIP guides; "" leaves such methods out unless they are
            asked for. None is the embedded one beside the embedded prior, else "".
        among: more prompts among which objects are retrieved.
        download: fetch prior and CLIPs that are not there.
        quick: small and short runs, which take minutes on a CPU.
        steps: length of each run, if not that of its method.
        config: nested tables of settings that all arms have.
        method_config: the same for single methods, by their names; it is laid over the others.
        jobs: runs at once; None takes what processors or GPUs allow.
        threads: of each run on its CPU; None shares the processors.
        retries: how often a run is started again whose process was lost.
        device: "cpu" or "cuda"; None takes a GPU where there is one.
        progress: show on stderr how it proceeds.

    Returns:
        The table, the runs and the files. Some runs may have failed, which the table says.

    Raises:
        ConfigError: an argument that cannot be used.
        PromptError: a prompt that the prior does not know.
        PriorError: a prior that is missing or damaged.
        RunFolderError: `out` is in use by another process, or holds other runs.
        DeviceError: a device that is not there. These are raised before anything is started.
        KeyboardInterrupt: after Ctrl-C.
        Terminated: a SystemExit of `dfast.runs.signals`, after SIGTERM or SIGHUP.
    """
    if not isinstance(what, str) or what not in TITLES:
        raise ConfigError(f"what: expected one of {', '.join(TITLES)}, got {shown(what)}")
    count = whole(seeds)
    if count is None or not 1 <= count <= SEED_LIMIT:
        raise ConfigError(f"seeds: expected 1 to {SEED_LIMIT}, got {shown(seeds)}")
    if config is not None and not isinstance(config, Mapping):
        raise ConfigError(f"config: expected tables of settings or None, got {shown(config)}")
    more = check_texts("among", among, "descriptions")
    clip_names = check_texts("clips", clips, "names of CLIPs", paths=True)
    guide = str(guide) if isinstance(guide, Path) else guide
    folder = as_path(out, "out").absolute()
    resources = Resources(jobs=jobs, threads=threads, retries=retries, device=device)  # checks them
    texts = read_prompts(prompts, prior, quick)
    choices = tuple({normalized(text): text for text in (*texts, *more)}.values())
    if clip_names and len(choices) < 2:
        raise ConfigError(
            f"prompts: expected two or more among which a CLIP retrieves, got {len(choices)}; give "
            "others in `among` (--among FILE on the command line)"
        )
    where = pick_device(device)
    length: Table = {} if steps is None else {"train": {"steps": check_steps(steps)}}
    own = settings_by_method(method_config)

    def resolve(name: str, tables: Sequence[Table]) -> Config:
        overrides = [
            *([quick_settings(name)] if quick else []),
            *([config] if config else []),
            length,
            own.get(name, {}),
            *tables,
        ]
        return resolve_config(
            prior, where.type, method=name, overrides=overrides, download=download
        )

    missing: tuple[str, ...] = ()
    if guide is None:
        guide = usual_guide(what, prior)
    if what == "table1":
        arms = table1(methods_of(methods, guide), guide, resolve)
        missing = left_out() if methods is None and not guide else ()
    elif methods is None:
        arms = ablation(method, resolve)
    else:
        raise ConfigError(f"methods: expected None with 'ablation', got {shown(methods)}")
    if unused := own.keys() - {arm.config.method.name for arm in arms}:
        raise ConfigError(
            f"method_config: expected methods of this comparison, got {shown(min(unused))}"
        )
    if guide:
        _check_guide(guide, download)
    if not all(arm.clip for arm in arms):
        family_of(prior, download=download)
    in_world = is_world(texts)
    judges = _judges(clip_names, choices, folder, where.type, download)
    rows = _rows(arms, texts, count, prior)
    made = make(
        [row for _, row in rows],
        folder / RUNS,
        resources,
        Config.default,
        common={"prior": prior, "download": download, "export": False, "score": in_world},
        progress=progress,
    )
    scored = _scored([arm for arm, _ in rows], made, judges, in_world, progress)
    by_clip = clip_columns([clip.name for clip in judges.clips]) if judges else []
    others = [*(WORLD if in_world else ()), SECONDS]
    known = [column for column in others if any(row.mean(column.key) for row in scored)]
    report = Report(
        what=what,
        title=TITLES[what],
        rows=scored,
        columns=(*by_clip, *known),
        prompts=texts,
        seeds=count,
        prior=prior,
        device=where.type,
        quick=quick,
        choices=tuple(map(normalized, choices)) if judges else (),
        clips=tuple(clip.about() for clip in judges.clips) if judges else (),
        views=tuple(judges.views) if judges else (),
        published=TABLE1 if what == "table1" else (),
        notes=_notes(judges, in_world, arms, missing),
    )
    if judges is not None and in_world and what == "table1":
        truth = [RunScore(TRUTH, text, 0, "done", "", judges.truth(text)) for text in texts]
        report = replace(report, rows=(Row(TRUTH, "true objects", 0, tuple(truth)), *report.rows))
    return Reproduction(report, made, write_files(report, folder, folder / RUNS))


def _check_guide(name: str, download: bool) -> None:
    """Raise PriorError if the CLIP that guides cannot be used."""
    try:
        find_clip(name, download=download).check_model()
    except PriorError as error:
        raise PriorError(f"guide: {str(error).removeprefix('clip: ')}") from error


def _judges(
    clips: Sequence[str], choices: Sequence[str], folder: Path, device: str, download: bool
) -> ClipJudges | None:
    """Return the CLIPs that score, None for none."""
    try:
        found = [load_clip(name, device, download=download) for name in dict.fromkeys(clips)]
    except PriorError as error:
        raise ConfigError(
            f"{error}; without a CLIP, ask for its columns to be left out (`--no-clip`, `clips=()`)"
        ) from error
    return ClipJudges(found, choices, folder, device) if found else None


def _rows(
    arms: Sequence[Arm], prompts: Sequence[str], seeds: int, prior: str
) -> list[tuple[Arm, BatchRow]]:
    """Return the runs with their arms, the first seeds of all arms first."""
    found = []
    for seed in range(seeds):
        for prompt in prompts:
            for arm in arms:
                name, where = _name(arm.name, prompt, seed, prior), f"{arm.name}, {prompt!r}"
                row = BatchRow(where, name, prompt, seed, base=arm.config, clip=arm.clip)
                found.append((arm, row))
    return found


def _name(arm: str, prompt: str, seed: int, prior: str) -> str:
    """Return the name of a run folder."""
    return f"{arm}-{run_name(prompt, prior)}-{seed}"


def _scored(
    arms: Sequence[Arm],
    made: Batch,
    judges: ClipJudges | None,
    in_world: bool,
    progress: bool,
) -> tuple[Row, ...]:
    """Return the rows of the table.

    Args:
        arms: of each run.
        made: the runs.
        judges: the CLIPs.
        in_world: whether the procedural world knows what is right.
        progress: say what is done.
    """
    runs: dict[str, list[RunScore]] = {arm.name: [] for arm in arms}
    for arm, status in zip(arms, made.rows, strict=True):
        folder = made.folder / status.name
        numbers = seconds_of(status) if status.state == "done" else {}
        if judges is not None:
            numbers |= judges.numbers(status.name, status, folder / RESULT)
        if in_world:
            numbers |= world_numbers(folder, status)
        if progress:
            notice(f"{status.name}: scored")
        about = (status.name, status.prompt, status.seed, status.state, status.error)
        runs[arm.name].append(RunScore(*about, numbers))
    return tuple(
        Row(arm.name, arm.title, arm.config.train.steps, tuple(runs[arm.name]), arm.clip)
        for arm in dict.fromkeys(arms)
    )


def _notes(
    judges: ClipJudges | None, in_world: bool, arms: Sequence[Arm], missing: Sequence[str]
) -> tuple[str, ...]:
    """Return what else there is to know of a table."""
    notes = []
    if judges is None:
        notes.append("R-Precision was left out, as was asked.")
    if not in_world:
        notes.append(
            "IoU, colours, normals and front were left out: not every prompt is a sentence of the "
            "procedural world."
        )
    if missing:
        notes.append(f"Left out for want of a CLIP to guide them: {', '.join(missing)}.")
    if any(arm.config.method.name == "dreamfusion" for arm in arms):
        notes.append("dreamfusion has Adam in place of Shampoo, and the prior named above.")
    return tuple(notes)
